#!lua
-- One call on the slots of a policy and key: the requests in flight. They are a sorted
-- set. A member is the token of a slot, and its score is when the slot expires, in
-- milliseconds. An acquire removes at most 500 slots that have expired, so that it takes
-- a bounded time. The others count until they are removed.
--
-- KEYS[1]  the slots
-- KEYS[2]  not used
-- ARGV[1]  take; look, to take nothing; room, to ask only whether there is room; release;
--          list, for when the slots expire
-- ARGV[2]  the token of the slot. It may be that of a slot taken before
-- ARGV[3]  the limit: how many slots; to list, how many at most
-- ARGV[4]  the hold, milliseconds
--
-- Reply: 1 if there is room, 0, 0, slots used, 0, as summed.lua does for one limit;
-- nobody knows when a slot comes free. To room: 1 or 0. To release: slots removed. To
-- list: 0, and the times in milliseconds, the latest first.

local slots, mode, token = KEYS[1], ARGV[1], ARGV[2]
local max, hold = ARGV[3] + 0, ARGV[4] + 0

-- prelude.lua

if mode == 'release' then return {call('ZREM', slots, token)} end

local now = clock()
if mode == 'list' then
  local reply, members = {0}, call('ZREVRANGEBYSCORE', slots, '+inf', format('(%d', now), 'WITHSCORES', 'LIMIT', '0', format('%d', max))
  for i = 2, #members, 2 do reply[1 + i / 2] = members[i] + 0 end
  return reply
end

local expired = math.min(call('ZCOUNT', slots, '-inf', format('%d', now)), 500)
local used = call('ZCARD', slots) - expired
local held = used >= max and token ~= '' and call('ZSCORE', slots, token)
local admits = used < max or (held and held + 0 > now)

if mode == 'room' then
  need('ZREMRANGEBYRANK', slots, '1', '0')
  need('ZADD', slots, 'XX', '0', '')
  need('PEXPIRE', slots, '1')
  return {admits and 1 or 0}
end
if mode == 'look' then return {admits and 1 or 0, 0, 0, used, 0} end
-- The commands after the first write are known to work. The set has its time to live
-- before the slot is in it, or is sure to get it afterwards.
if admits and (expired > 0 or used == 0) then
  need('ZADD', slots, 'XX', '0', '')
  need('PEXPIRE', slots, '1')
end
if expired > 0 then call('ZREMRANGEBYRANK', slots, '0', format('%d', expired - 1)) end
if admits then
  local fresh = used == 0
  if not fresh then call('PEXPIRE', slots, format('%d', 2 * hold), 'GT') end
  used = used + call('ZADD', slots, format('%d', now + hold), token)
  if fresh then call('PEXPIRE', slots, format('%d', 2 * hold)) end
end
return {admits and 1 or 0, 0, 0, used, 0}
