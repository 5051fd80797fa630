-- Whether position a is older than b: "major-minor", decimal numbers of up to 20 digits each, which
-- Lua's own numbers cannot hold. False where either is no position.
local function older(a, b)
  local a_major, a_minor = a:match('^(%d+)-(%d+)$')
  local b_major, b_minor = b:match('^(%d+)-(%d+)$')
  if not (a_major and b_major) then
    return false
  end
  if a_major == b_major then
    a_major, b_major = a_minor, b_minor
  end
  return #a_major < #b_major or (#a_major == #b_major and a_major < b_major)
end
