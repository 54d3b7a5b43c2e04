#!lua
-- A change of the rules that all processes share: one hash, with a field for
-- each rule by its ID, and the field version, which every change changes.
--
-- KEYS[1]  the hash
-- ARGV[1]  the ID
-- ARGV[2]  when the rule ends, milliseconds, or 0; '' to delete the rule
-- ARGV[3]  the rule
--
-- Reply: 1 if there was such a rule before, else 0.
--
-- A value is the end of the rule, a blank and the rule. Rules that have ended
-- are deleted on the way. The hash has no time to live.

local rules, id = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)

local function ended(value)
  local ends = tonumber(string.match(value, '^%d+'))
  return ends and ends > 0 and ends <= clock
end

local all = redis.call('HGETALL', rules)
local found, changed, version = 0, false, 0
for i = 1, #all, 2 do
  if all[i] == 'version' then
    version = tonumber(all[i + 1]) or 0
  else
    local over = ended(all[i + 1])
    if all[i] == id and not over then found = 1 end
    if over or all[i] == id and ARGV[2] == '' then
      redis.call('HDEL', rules, all[i])
      changed = true
    end
  end
end
if ARGV[2] ~= '' then
  redis.call('HSET', rules, id, ARGV[2] .. ' ' .. ARGV[3])
  changed = true
end
if changed then
  -- By the clock, so that a hash that was lost and made anew, by FLUSHALL or a
  -- failover, has no version that a process has met.
  version = math.max(version + 1, time[1] * 1000000 + time[2])
  redis.call('HSET', rules, 'version', string.format('%.0f', version))
end
return {found}
