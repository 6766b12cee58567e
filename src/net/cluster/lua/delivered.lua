-- Notes up to which offset a uid's messages were delivered, or that those behind it were not after all.
-- KEYS: what is known of the stream.
-- ARGV: the epoch, the offset, whether those behind it were not.
local meta = redis.call('HMGET', KEYS[1], 'e', 'd')
if meta[1] ~= ARGV[1] then return 0 end
local offset, delivered = tonumber(ARGV[2]), tonumber(meta[2])
local is_back = ARGV[3] == '1'
if is_back and offset < delivered or not is_back and offset > delivered then
  redis.call('HSET', KEYS[1], 'd', ARGV[2])
end
return 0
