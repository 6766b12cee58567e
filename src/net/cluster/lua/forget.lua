-- Throws away what a stream has, and tells the nodes that have it.
-- KEYS: what is known of the stream, the stream.
-- ARGV: the channel, what is told.
-- Answers with how many messages there were.
local meta = redis.call('HMGET', KEYS[1], 'e', 't')
if not meta[1] then return 0 end
local count = redis.call('XLEN', KEYS[2])
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'f', meta[2])
redis.call('PUBLISH', ARGV[1], meta[1] .. ':' .. meta[2] .. ' ' .. ARGV[2])
return count
