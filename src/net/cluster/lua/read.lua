-- Reads a piece of a stream, and gives it an epoch if it has none.
-- KEYS: what is known of the stream, the stream.
-- ARGV: the run of Redis, an epoch if one is wanted, the milliseconds that it is known for, the offset behind which it is
-- read, the most messages and bytes.
-- Answers with the epoch, the top, the offset up to which all was thrown away, that up to which all was delivered, that
-- with which this life began, and of each message its offset, its milliseconds left and itself.
local run, epoch, life, after, most, room = unpack(ARGV)
local meta = redis.call('HMGET', KEYS[1], 'e', 'r', 't', 'f', 'd', 'b')
if not meta[1] then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'r', run, 't', 0, 'f', 0, 'd', 0, 'b', 0)
  redis.call('PEXPIRE', KEYS[1], life)
  return {epoch, '0', '0', '0', '0', {}}
end
if meta[2] ~= run then
  -- Another run of Redis may have lost the last of it. So this is another life of the stream, with all that is there.
  meta[1], meta[6] = epoch, meta[3]
  redis.call('HSET', KEYS[1], 'e', epoch, 'r', run, 'b', meta[3])
end
if redis.call('PTTL', KEYS[1]) < tonumber(life) then redis.call('PEXPIRE', KEYS[1], life) end
local found = {}
if most ~= '0' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local left = tonumber(room)
  -- Of another life the offset is none of this one.
  if ARGV[7] ~= meta[1] then after = '0' end
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '(' .. after .. '-0', '+', 'COUNT', most)) do
    local millis = entry[2][2] - now
    local message = millis > 0 and entry[2][4] or ''
    if #found > 0 and #message > left then break end
    left = left - #message
    found[#found + 1] = string.match(entry[1], '%d+')
    found[#found + 1] = string.format('%.0f', millis)
    found[#found + 1] = message
  end
end
return {meta[1], meta[3], meta[4], meta[5], meta[6], found}
