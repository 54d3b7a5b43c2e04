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

-- prelude.lua

local rules, rule = KEYS[1], ARGV[1]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function ended(value)
  local ends = tonumber(string.match(value, '^%d+'))
  return ends and ends > 0 and ends <= now
end

local all = call('HGETALL', rules)
local found, version = 0, 0
local gone = {}
for i = 1, #all, 2 do
  if all[i] == 'version' then
    version = tonumber(all[i + 1]) or 0
  else
    local over = ended(all[i + 1])
    if all[i] == rule and not over then found = 1 end
    if over or all[i] == rule and ARGV[2] == '' then gone[#gone + 1] = all[i] end
  end
end
if ARGV[2] == '' and #gone == 0 then return {found} end

-- By the clock, so that a hash that was lost and made anew, by FLUSHALL or a
-- failover, has no version that a process has met.
version = math.max(version + 1, time[1] * 1000000 + time[2])
local change = {'version', string.format('%.0f', version)}
if #gone > 0 then
  need('HSET', rules, unpack(change))
  for _, one in ipairs(gone) do call('HDEL', rules, one) end
end
if ARGV[2] ~= '' then
  change[3], change[4] = rule, ARGV[2] .. ' ' .. ARGV[3]
end
call('HSET', rules, unpack(change))
return {found}
