#!lua
-- A change of the rules that all processes share. Its cost does not depend on how many
-- there are.
--
-- KEYS[1]  the rules: a hash with a field for each by its ID, and the field version
-- KEYS[2]  their order: a sorted set of IDs by the number of the last change of each
-- KEYS[3]  their ends: a sorted set of IDs by when each ends, milliseconds, or inf
-- KEYS[4]  the last changes: a stream
-- ARGV[1]  the ID
-- ARGV[2]  when the rule ends, milliseconds, or 0; '' to delete the rule
-- ARGV[3]  the rule
-- ARGV[4]  a random number, of at most 63 bits
-- ARGV[5]  how many rules there may be
--
-- Reply: 1 if there was such a rule before, 0 if not, and -1 if there are too many.
--
-- A value of the hash is the end of the rule, a blank and the rule. A change has an
-- entry of the stream, with the ID of each rule that it changed, and its value, or ''
-- for one that it deleted. The entry's ID, number-random, is the version. The number is
-- one more than that of the change before, so that no clock matters to the order. After
-- a loss of the rules it starts from the time in milliseconds, far below 2^53. The
-- random number tells a change that a failover has lost from another in its place.
--
-- The hash has everything that the other keys have, but for what was deleted. A change
-- that finds some of them lost, as by an eviction, makes them anew. It leaves the earlier
-- changes out, and so all processes read all rules.
--
-- Up to 100 rules that have ended are deleted on the way. The keys have no time to live.

-- prelude.lua

local rules, order, ends, changes = unpack(KEYS)
local id, till = ARGV[1], ARGV[2]
local now = clock()

-- finish returns when the rule with a value ends.
local function finish(value)
  local at = tonumber(match(value, '^%d+') or 0)
  return at > 0 and at or math.huge
end

local version = call('HGET', rules, 'version')
local value = id ~= 'version' and call('HGET', rules, id)
local found = value and finish(value) > now and 1 or 0

local count = call('HLEN', rules) - 1
local last = call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
local intact = version and call('ZCARD', order) == count and call('ZCARD', ends) == count and last and last[1] == version
local all = intact and {} or call('HGETALL', rules)

local gone = call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)
if till == '' then
  if value then gone[#gone + 1] = id end
  if #gone == 0 then return {0} end
elseif not value and intact and count - #gone >= tonumber(ARGV[5]) then
  return {-1}
end

local number = format('%.0f', version and match(version, '^%d+') + 1 or now)
version = number .. '-' .. ARGV[4]

need('HSET', rules, 'version', version)
need('HDEL', rules, id)
need('ZADD', order, number, id)
need('ZREM', order, id)
need('XADD', changes, version, id, '')

local entry = {}
for i, one in ipairs(gone) do
  entry[2 * i - 1], entry[2 * i] = one, ''
end
if till ~= '' then
  value = till .. ' ' .. ARGV[3]
  entry[#entry + 1], entry[#entry + 2] = id, value
end

-- The entry comes first: a change that fails here has changed no rule.
if not intact then call('UNLINK', order, ends, changes) end
call('XADD', changes, 'MAXLEN', '~', 10000, version, unpack(entry))
call('HSET', rules, 'version', version)

-- place puts a rule into the sorted sets.
local function place(rule, rank, text)
  call('ZADD', order, rank, rule)
  call('ZADD', ends, finish(text), rule)
end

for i = 1, #all, 2 do
  if all[i] ~= 'version' then place(all[i], -i, all[i + 1]) end
end
if #gone > 0 then
  call('HDEL', rules, unpack(gone))
  call('ZREM', order, unpack(gone))
  call('ZREM', ends, unpack(gone))
end
if till ~= '' then
  call('HSET', rules, id, value)
  place(id, number, value)
end
return {found}
