-- How many uids are members of groups for good. KEYS: that.
return tonumber(redis.call('HGET', KEYS[1], 'uids') or 0)
