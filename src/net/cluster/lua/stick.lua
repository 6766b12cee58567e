-- Makes a uid a member of a group, whether it has a connection or not, and tells the nodes that have the uid; of the first
-- such uid of all, all nodes.
-- KEYS: the uid's groups, and how many uids have some. ARGV: the group, how many it may have, the channel, the message,
-- and those for all nodes.
-- Answers with 1 if it is one only now, 0 if it was, -1 if it is in too many.
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 0 end
local count = redis.call('SCARD', KEYS[1])
if count >= tonumber(ARGV[2]) then return -1 end
-- One too many is read for nothing, one too few not at all.
if count == 0 and redis.call('HINCRBY', KEYS[2], 'uids', 1) == 1 then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
