-- The groups of a uid. KEYS: they.
return redis.call('SMEMBERS', KEYS[1])
