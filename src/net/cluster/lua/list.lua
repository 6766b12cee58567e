-- Has the list of a group's uids have one, or have it no more, and the names of groups that have such a list.
-- KEYS: the list, and those names. ARGV: the uid, 1 or 0, and the group. Answers with 1 if that is new.
if ARGV[2] == '1' then
  redis.call('ZADD', KEYS[2], 0, ARGV[3])
  return redis.call('SADD', KEYS[1], ARGV[1])
end
local was = redis.call('SREM', KEYS[1], ARGV[1])
if redis.call('SCARD', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[3]) end
return was
