-- How many uids the list of a group has, and some of them. KEYS: the list. ARGV: how many of them.
local some = {}
if ARGV[1] ~= '0' then some = redis.call('SRANDMEMBER', KEYS[1], ARGV[1]) end
return {redis.call('SCARD', KEYS[1]), some}
