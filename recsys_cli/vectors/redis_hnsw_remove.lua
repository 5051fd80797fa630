-- Remove an embedding unless it is newer than the position; after redis_hnsw_order.lua.
-- KEYS[1]; ARGV: position.
local stored = redis.call('HGET', KEYS[1], 'position')
if stored and older(ARGV[1], stored) then
  return 0
end
return redis.call('DEL', KEYS[1])
