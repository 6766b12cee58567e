-- Appends a message to a stream and publishes it; for the id of a request once.
-- KEYS: what is known of the stream, the stream, and the id's, if there is one.
-- ARGV: the run of Redis, an epoch if one is wanted, the most messages, the message's milliseconds, for how many beyond
-- them the stream is known, the channel, the message's head, the message, and for how many milliseconds the id holds.
-- Answers with the position, and how many nodes have it; or, where the id has had it appended before, with a negative.
local run, epoch, most, millis, life, channel, head, message = unpack(ARGV)
local meta = redis.call('HMGET', KEYS[1], 'e', 'r')
if meta[1] and meta[2] == run then
  epoch = meta[1]
  local known = KEYS[3] and redis.call('GET', KEYS[3])
  -- Of another life of the stream it is not kept any more.
  if known and string.match(known, '^[^:]*') == epoch then return {known, -1} end
else
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'r', run, 't', 0, 'f', 0, 'd', 0)
end
local offset = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 't', 1))
local time = redis.call('TIME')
local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + millis)
redis.call('XADD', KEYS[2], 'MAXLEN', most, offset .. '-0', 'x', due, 'm', message)
if redis.call('PTTL', KEYS[2]) < tonumber(millis) then redis.call('PEXPIRE', KEYS[2], millis) end
local forget = string.format('%.0f', millis + life)
if redis.call('PTTL', KEYS[1]) < tonumber(forget) then redis.call('PEXPIRE', KEYS[1], forget) end
local place = epoch .. ':' .. offset
if KEYS[3] then redis.call('SET', KEYS[3], place, 'PX', ARGV[9]) end
return {place, redis.call('PUBLISH', channel, place .. ' ' .. head .. message)}
