-- Ends that.
-- KEYS: the uid's groups, and how many uids have some. ARGV: the group, the channel, the message.
-- Answers with 1 if it was a member.
if redis.call('SREM', KEYS[1], ARGV[1]) == 0 then return 0 end
if redis.call('SCARD', KEYS[1]) == 0 and redis.call('HINCRBY', KEYS[2], 'uids', -1) < 1 then redis.call('DEL', KEYS[2]) end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
