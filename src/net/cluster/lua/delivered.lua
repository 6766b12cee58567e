-- Notes up to which offset a uid's messages have come.
-- KEYS: what is known of the stream.
-- ARGV: the epoch, the offset.
local meta = redis.call('HMGET', KEYS[1], 'e', 'd')
if meta[1] == ARGV[1] and tonumber(ARGV[2]) > tonumber(meta[2]) then redis.call('HSET', KEYS[1], 'd', ARGV[2]) end
return 0
