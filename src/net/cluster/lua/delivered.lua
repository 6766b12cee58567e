-- Notes up to which offset a uid's messages have come.
-- KEYS: what is known of the stream.
-- ARGV: the epoch, the offset.
local meta = redis.call('HMGET', KEYS[1], 'e', 'd', 't')
if meta[1] == ARGV[1] and tonumber(ARGV[2]) > tonumber(meta[2]) then
  -- A Redis that has lost the last of it gives its offsets once more.
  redis.call('HSET', KEYS[1], 'd', tonumber(ARGV[2]) < tonumber(meta[3]) and ARGV[2] or meta[3])
end
return 0
