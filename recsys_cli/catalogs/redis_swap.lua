-- Compare and set. KEYS[1]; ARGV: the state expected, the new one.
-- Returns 1, or nil where another state was found.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return nil
end
if ARGV[1] ~= ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2])
end
return 1
