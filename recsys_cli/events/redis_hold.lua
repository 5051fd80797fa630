-- Set how long a delivery has been idle, if the consumer still holds it: its claim runs from there.
-- KEYS[1]: stream; ARGV: group, consumer, entry id, idle time in ms.
local group, consumer, entry, idle = unpack(ARGV)
if #redis.call('XPENDING', KEYS[1], group, entry, entry, 1, consumer) == 0 then
  return 0
end
redis.call('XCLAIM', KEYS[1], group, consumer, 0, entry, 'IDLE', idle, 'JUSTID')
return 1
