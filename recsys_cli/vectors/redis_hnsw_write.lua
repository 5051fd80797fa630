-- Store an embedding unless a newer one is there; after redis_hnsw_order.lua.
-- KEYS[1]; ARGV: position, vector ('' keeps the stored one), how many fields there shall not be,
-- their names, then the names and values of the other fields.
local position, vector, absent = ARGV[1], ARGV[2], tonumber(ARGV[3])
local stored = redis.call('HGET', KEYS[1], 'position')
if stored and older(position, stored) then
  return 0
end
local fields = { 'position', position }
if vector ~= '' then
  fields[3], fields[4] = 'vector', vector
elseif redis.call('HEXISTS', KEYS[1], 'vector') == 0 then
  return 0
end
for i = 4 + absent, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
-- In one HSET, because each makes the index take up the whole product anew.
redis.call('HSET', KEYS[1], unpack(fields))
-- Only now: after a first write Redis lets a script exceed the memory limit.
if absent > 0 then
  redis.call('HDEL', KEYS[1], unpack(ARGV, 4, 3 + absent))
end
return 1
