#!lua
-- A change of the rules that all processes share: one hash, with a field for
-- each rule by its ID, and the field version, which counts the changes.
--
-- KEYS[1]  the hash
-- ARGV[1]  the ID
-- ARGV[2]  when the rule ends, milliseconds, or 0; '' to delete the rule
-- ARGV[3]  the rule
--
-- Reply: 1 if there was such a rule before, else 0.

local rules, id = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local function ends(value) return tonumber(string.match(value, '^%d+')) end
local function ended(value) return ends(value) > 0 and ends(value) <= clock end

local all = redis.call('HGETALL', rules)
local found = 0
for i = 1, #all, 2 do
  if all[i] ~= 'version' then
    local over = ended(all[i + 1])
    if all[i] == id and not over then found = 1 end
    if all[i] == id or over then redis.call('HDEL', rules, all[i]) end
  end
end
if ARGV[2] ~= '' then redis.call('HSET', rules, id, ARGV[2] .. ' ' .. ARGV[3]) end
redis.call('HINCRBY', rules, 'version', 1)
return {found}
