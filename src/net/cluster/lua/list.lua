-- Has the list of a group's uids have one, or have it no more. KEYS: the list. ARGV: the uid, and 1 or 0.
return redis.call(ARGV[2] == '1' and 'SADD' or 'SREM', KEYS[1], ARGV[1])
