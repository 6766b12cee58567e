-- Appends a message to a stream and publishes it; for the id of a request once.
-- KEYS: what is known of the stream, the stream, and the id's, if there is one.
-- ARGV: the run of Redis, an epoch if one is wanted, the most messages, the message's milliseconds, for how many beyond
-- them the stream is known, the channel, the message's head, the message, and for how many milliseconds the id holds.
-- Answers with the position, and how many nodes have it; or, where the id has had it appended before, with a negative.
local run, epoch, most, millis, life, channel, head, message = unpack(ARGV)
local meta = redis.call('HMGET', KEYS[1], 'e', 'r', 't')
if not meta[1] then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'r', run, 't', 0, 'f', 0, 'd', 0, 'b', 0)
elseif meta[2] ~= run then
  -- Another run of Redis may have lost the last of it. So this is another life of the stream, with all that is there.
  redis.call('HSET', KEYS[1], 'e', epoch, 'r', run, 'b', meta[3])
else
  epoch = meta[1]
end
local known = KEYS[3] and redis.call('GET', KEYS[3])
if known then
  local life, at = string.match(known, '^([^:]*):(%d+)$')
  if life == epoch then return {known, -1} end
  local there = redis.call('XRANGE', KEYS[2], at .. '-0', at .. '-0')
  if there[1] and there[1][2][4] == message then return {epoch .. ':' .. at, -1} end
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
