-- Compare and set. KEYS[1]; ARGV: the state expected, the new one; '' stands for no state.
-- Returns nil when the new state is in place, else the state found instead.
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then
  return found
end
if found ~= ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2])
end
return nil
