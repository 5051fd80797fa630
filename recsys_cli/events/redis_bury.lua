-- Keep a dead letter and acknowledge its event, unless somebody has seen to it already.
-- KEYS: stream, dead letters, failures; ARGV: group, entry id, then the letter's names and values.
local group, entry = ARGV[1], ARGV[2]
local held = redis.pcall('XPENDING', KEYS[1], group, entry, entry, 1)
if not held.err and #held == 0 then
  return 0
end
-- First: where it fails, as at the memory limit, the script ends and the event stays pending.
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
local done = redis.pcall('XACKDEL', KEYS[1], group, 'ACKED', 'IDS', 1, entry)
if type(done) == 'table' and done.err then
  redis.pcall('XACK', KEYS[1], group, entry)
end
redis.call('HDEL', KEYS[3], entry)
return 1
