-- Claims the id of a request.
-- KEYS: the id. ARGV: the claim, its milliseconds, and a claim of a node that is gone, in whose place it is, if there is one.
-- Answers with what is known of it already: another's claim, or what has come of it; of a fresh one with nothing.
local known = redis.call('GET', KEYS[1])
if known and known ~= ARGV[3] then return known end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
