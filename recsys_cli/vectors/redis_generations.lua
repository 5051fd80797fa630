-- Change the table of generations, if the lock is still held by this token, and has not expired.
-- KEYS[1]; ARGV: token, alias and index ('' changes no alias), then fields and values ('' removes).
-- Returns 1, or 0 where another run has the lock.
local time = redis.call('TIME')
local found = redis.call('HMGET', KEYS[1], 'token', 'expires')
if found[1] ~= ARGV[1] or tonumber(found[2] or 0) <= time[1] * 1000 + math.floor(time[2] / 1000) then
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
