#!lua
-- One decision on a summed log: several limits, or requests of any cost, without
-- refunds.
--
-- The ID of an entry is ms-total: its time, and the units admitted in the log
-- up to and including it. The units used in a window are then a difference of
-- two IDs, however many entries lie between. The first field of an entry holds
-- its cost.
--
-- Totals count modulo 2^52, which keeps them exact in Lua's numbers; the units
-- in a window are far fewer, so differences are unambiguous.
--
-- KEYS[1]  the log
-- KEYS[2]  scratch, in the same hash slot; gone when the script ends. Left out
--          while the slot moves to another node, which allows one key only
-- ARGV[1]  take; look, to take nothing; room, to ask only whether there is room
-- ARGV[2]  how many units: the cost
-- ARGV[3]  the longest window, milliseconds
-- ARGV[4]  the slice of a coarse log, milliseconds: the time within which
--          requests share an entry; 0 when each has its own
-- ARGV[5], ARGV[6], ...  for each limit: units in a window, window in milliseconds
--
-- Reply: whether there is room (1 or 0), then, unless that is all, in
-- milliseconds: until the cost would fit, until the log is empty; then for each
-- limit: units used, and milliseconds until some come free.

-- prelude.lua

local modulus = 4503599627370496

local log, mode = KEYS[1], ARGV[1]
local cost, longest, slice = ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0

-- The last entry, with its time and total.
local last = call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local fresh = not last
local newest, total
local time = clock()
local now = time
if last then
  newest, total = read(last)
  -- Time never runs backwards within a log, whatever the clock does.
  if newest > now then now = newest end
  if newest <= now - longest then last = false end
end

local reply = {1, 0, 0}
for i = 5, #ARGV, 2 do
  local max, window = ARGV[i] + 0, ARGV[i + 1] + 0
  local used, free = 0, 0
  if last and newest > now - window then
    local first = call('XRANGE', log, id(now - window + 1), '+', 'COUNT', 1)[1]
    local at, sum = read(first)
    sum = sum - first[2][2]
    used = (total - sum) % modulus
    free = at + window - time
    if used + cost > max then
      if mode == 'room' then return {0} end
      -- Enough will have left the window with the first entry up to which so many were
      -- admitted. It is mostly the window's own first; else a binary search over the
      -- times of entries finds it.
      local over, low, high = used + cost - max, at, newest
      if first[2][2] + 0 >= over then high = at end
      while low < high do
        local middle = floor((low + high) / 2)
        local entry, upTo = read(call('XREVRANGE', log, id(middle), '-', 'COUNT', 1)[1])
        if (upTo - sum) % modulus >= over then
          high = entry
        else
          low = middle + 1
        end
      end
      reply[1] = 0
      reply[2] = math.max(reply[2], high + window - time)
    end
  end
  reply[i - 1], reply[i] = used, free
end
-- A coarse log begins only where entries can be joined. together.lua must know before
-- it takes units from any log.
if fresh and slice > 0 and mode ~= 'look' then need('XDEL', log, '0-1') end
if mode == 'room' then return {1} end

if reply[1] == 0 or mode == 'look' then
  if last then reply[3] = newest + longest - time end
  return reply
end

local sum, entry, life = cost, ARGV[2], nil
if last then
  sum = (total + cost) % modulus
  -- IDs must grow: a total that starts over needs a new millisecond.
  if sum < cost and now == newest then now = now + 1 end
end
local joins = slice > 0 and last and floor(newest / slice) == floor(now / slice)
if joins then entry = format('%d', cost + last[2][2]) end
-- Set to two windows by the first admission in each aligned stretch of one
-- window, the time to live is at least one window after every admission. It
-- counts from the new entry, which is ahead of a clock that stepped back. A log that
-- is there gets it before the entry: an error leaves nothing counted.
if not last or floor(newest / longest) < floor(now / longest) then
  life = format('%d', now - time + 2 * longest)
end
if fresh then
  need('PEXPIRE', log, life)
elseif life then
  call('PEXPIRE', log, life)
end
-- Whole nodes of expired entries go; which of them are left does not matter.
call('XADD', log, 'MINID', '~', id(now - longest + 1), format('%d-%d', now, sum), 'c', entry)
if fresh then
  compact(log, KEYS[2])
  call('PEXPIRE', log, life)
end
-- The new entry takes in the newest one. Where the user has lost XDEL since the log
-- began, both stay, and no unit counts twice. Such logs are trimmed by whole nodes
-- only: an exact trim after XDEL can leave a file that newer servers refuse to load.
if joins then try('XDEL', log, last[1]) end

reply[3] = now + longest - time
for i = 4, #reply, 2 do
  reply[i] = reply[i] + cost
  if reply[i + 1] == 0 then reply[i + 1] = now + tonumber(ARGV[i + 2]) - time end
end
return reply
