-- Makes a uid a member of a group, whether it has a connection or not, and tells the nodes that have the uid.
-- KEYS: the uid's groups. ARGV: the group, how many it may have, the channel, the message.
-- Answers with 1 if it is one only now, 0 if it was, -1 if it is in too many.
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 0 end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return -1 end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
