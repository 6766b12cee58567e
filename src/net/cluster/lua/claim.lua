-- Claims the id of a request.
-- KEYS: the id. ARGV: the claim, its milliseconds.
-- Answers with what is known of it already: another's claim, or what has come of it; of a fresh one with nothing.
local known = redis.call('GET', KEYS[1])
if not known then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return known
