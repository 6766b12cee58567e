-- Ends that. KEYS: the uid's groups. ARGV: the group, the channel, the message. Answers with 1 if it was a member.
local was = redis.call('SREM', KEYS[1], ARGV[1])
if was == 1 then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
return was
