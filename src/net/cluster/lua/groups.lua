-- Names of groups that uids are in for good, in their order. KEYS: all of them. ARGV: the one behind which they begin, or
-- nothing, and how many.
return redis.call('ZRANGEBYLEX', KEYS[1], '(' .. ARGV[1], '+', 'LIMIT', 0, ARGV[2])
