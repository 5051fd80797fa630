-- Take, renew or give back the lock in the table of generations, by the server's own clock.
-- KEYS[1]; ARGV: token ('' takes the lock), milliseconds to hold it (0 gives it back), holder.
-- Returns the token, or who holds the lock and for how many milliseconds more.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'token', 'expires', 'holder')
local token, expires = found[1], tonumber(found[2] or 0)
if ARGV[1] == '' then
  if expires > now then
    return { found[3], expires - now }
  end
  token = redis.call('HINCRBY', KEYS[1], 'token', 1)
  redis.call('HSET', KEYS[1], 'holder', ARGV[3])
elseif token ~= ARGV[1] or expires <= now then
  return { found[3] or 'nobody', math.max(0, expires - now) }
end
redis.call('HSET', KEYS[1], 'expires', string.format('%.0f', now + ARGV[2]))
if ARGV[2] == '0' then
  redis.call('HSET', KEYS[1], 'expires', 0)
end
return tonumber(token)
