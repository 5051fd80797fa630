-- Remove a consumer's name from the group, unless it holds anything.
-- KEYS[1]: stream; ARGV: group, consumer. Deleting a consumer would drop what it holds.
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for i = 1, #row, 2 do
    facts[row[i]] = row[i + 1]
  end
  if facts['name'] == ARGV[2] and facts['pending'] == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return 0
