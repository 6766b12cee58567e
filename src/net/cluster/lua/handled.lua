-- Notes how far clients of a uid say that they have handled streams: the furthest of each, and of another life the newest.
-- KEYS: what is known of that. ARGV: for how many milliseconds, the most places, and each place's name and position.
for nth = 3, #ARGV, 2 do
  local name, said = ARGV[nth], ARGV[nth + 1]
  local known = redis.call('HGET', KEYS[1], name)
  local epoch, offset = string.match(said, '^([^:]*):(%d+)$')
  local before, upto = string.match(known or '', '^([^:]*):(%d+)$')
  if not known and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[2]) then redis.call('DEL', KEYS[1]) end
  if before ~= epoch or tonumber(upto) < tonumber(offset) then redis.call('HSET', KEYS[1], name, said) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 0
