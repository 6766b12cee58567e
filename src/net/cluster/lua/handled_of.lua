-- Tells how far one client of a uid has said that it has handled streams.
-- KEYS: what is known of that. ARGV: what the names of its places begin with.
-- Answers with the rest of each name, and the position.
local found, stem = {}, ARGV[1]
local all = redis.call('HGETALL', KEYS[1])
for nth = 1, #all, 2 do
  if string.sub(all[nth], 1, #stem) == stem then
    found[#found + 1] = string.sub(all[nth], #stem + 1)
    found[#found + 1] = all[nth + 1]
  end
end
return found
