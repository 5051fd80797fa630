-- Put an event back on the stream and drop its dead letter, unless the letter is gone.
-- KEYS: dead letters, stream; ARGV: letter id, then the event's names and values.
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then
  return 0
end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 2))
redis.call('XDEL', KEYS[1], ARGV[1])
return 1
