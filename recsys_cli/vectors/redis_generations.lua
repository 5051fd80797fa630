-- Change the table of generations, if the lock is still held by this token.
-- KEYS[1]; ARGV: token, alias and index ('' changes no alias), then fields and values ('' removes).
-- Returns 1, or 0 where another run has the lock.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
if ARGV[2] ~= '' then
  -- First, so that a refusal leaves the table as it was.
  local done = redis.pcall('FT.ALIASUPDATE', ARGV[2], ARGV[3])
  if type(done) == 'table' and done.err then
    return redis.error_reply(done.err)
  end
end
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
