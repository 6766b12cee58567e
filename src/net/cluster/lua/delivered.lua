-- Notes up to which offset a uid's messages were delivered, or that they were not after all.
-- KEYS: what is known of the stream.
-- ARGV: the epoch, the offset, whether it may be less than before.
local meta = redis.call('HMGET', KEYS[1], 'e', 'd')
if meta[1] == ARGV[1] and (ARGV[3] == '1' or tonumber(ARGV[2]) > tonumber(meta[2])) then
  redis.call('HSET', KEYS[1], 'd', ARGV[2])
end
return 0
