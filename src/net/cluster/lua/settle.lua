-- Says what has come of the request of an id, or, with nothing, gives it up.
-- KEYS: the id. ARGV: the claim, what has come of it, its milliseconds.
local known = redis.call('GET', KEYS[1])
-- What came first counts.
if known and known ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
elseif known then
  redis.call('DEL', KEYS[1])
end
return 1
