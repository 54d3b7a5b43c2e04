#!lua
-- A change of the rules that all processes share. Its cost does not depend on how many
-- there are.
--
-- KEYS[1]  the rules: a hash with a field for each by its ID, and the field version
-- KEYS[2]  their order: a sorted set of IDs by the number of the last change of each
-- KEYS[3]  their ends: a sorted set of the IDs of rules that end, by when, milliseconds
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
-- the server's time in microseconds, or more where that has stepped back. The random
-- number tells a change that a failover has lost from another in its place.
--
-- A few rules that have ended are deleted on the way. The keys have no time to live.

-- prelude.lua

local rules, order, ends, changes = unpack(KEYS)
local id, till = ARGV[1], ARGV[2]
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

local version = call('HGET', rules, 'version')
local value = id ~= 'version' and call('HGET', rules, id)
local found = 0
if value then
  local its = tonumber(match(value, '^%d+'))
  if not its or its == 0 or its > now then found = 1 end
end

local gone = call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 16)
if till == '' then
  if value then gone[#gone + 1] = id end
  if #gone == 0 then return {0} end
elseif not value and version and call('HLEN', rules) - 1 - #gone >= tonumber(ARGV[5]) then
  return {-1}
end

local lost = not version
local number = time[1] * 1000000 + time[2]
if version then number = math.max(number, match(version, '^%d+') + 1) end
number = format('%.0f', number)
version = number .. '-' .. ARGV[4]

need('HSET', rules, 'version', version)
need('HDEL', rules, id)
need('ZADD', order, number, id)
need('ZREM', order, id)
need('XADD', changes, version, id, '')

-- What is left of rules that were lost, as by an eviction, is of no use without them.
if lost then call('UNLINK', order, ends, changes) end

local entry = {}
for i, one in ipairs(gone) do
  call('HDEL', rules, one)
  call('ZREM', order, one)
  call('ZREM', ends, one)
  entry[2 * i - 1], entry[2 * i] = one, ''
end
if till ~= '' then
  value = till .. ' ' .. ARGV[3]
  call('HSET', rules, id, value)
  call('ZADD', order, number, id)
  if till == '0' then
    call('ZREM', ends, id)
  else
    call('ZADD', ends, till, id)
  end
  entry[#entry + 1], entry[#entry + 2] = id, value
end
call('HSET', rules, 'version', version)
call('XADD', changes, 'MAXLEN', '~', 10000, version, unpack(entry))
return {found}
