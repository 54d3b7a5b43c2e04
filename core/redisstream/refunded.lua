#!lua
-- One decision or correction on a log with refunds: a summed log whose entries
-- also say what was given back.
--
-- As in summed.lua, the ID of an entry is ms-total: its time, and the units
-- admitted in the log up to and including it, modulo 2^52. Its fields, of which
-- b, k, d and p are carried on from entry to entry:
--
--   c  its cost; of an entry that gives back units, those units below 0. Such
--      an entry counts 1 in the total, since IDs must grow
--   b  units given back in the log so far, modulo 2^52
--   k  entries so far that give back units, modulo 2^52
--   d  the longest time, in milliseconds, between a request and its refund,
--      among the refunds made in the same stretch of one window as this entry
--   p  the same for the stretch before. Stretches are aligned; every refund in
--      the window that ends with this entry is in one of the two
--
-- What was given back counts for a window if it was given back later than the
-- window's start plus the longest of those times: then its request is surely in
-- the window too. So a window never gets back what others took.
--
-- KEYS[1]  the log
-- KEYS[2]  scratch, in the same hash slot; gone when the script ends. Left out
--          while the slot moves to another node, which allows one key only
-- ARGV[1]  take; look, to take nothing; room, to ask only whether there is room;
--          correct, to correct what was taken; lease, to take for several requests,
--          each if there is room for it, and then some units ahead of requests
-- ARGV[2]  how many units: the cost; the correction, which is below 0 to give
--          back and above 0 to charge; in mode lease, the most units to take ahead
-- ARGV[3]  the longest window, milliseconds
-- ARGV[4]  the total at which a new log starts: one that no other log of the
--          same key has had, so that no entry passes for one of a log that is gone
-- To decide:
-- ARGV[5], ARGV[6], ...  for each limit: units in a window, window in milliseconds
-- To lease, after the limits:
-- for each group of consecutive requests, three numbers: how many requests, and the
--          fewest and the most units for each of them
-- the last the number of groups
-- To correct:
-- ARGV[5]  how long after the request units can be given back, milliseconds
-- ARGV[6]  the ID of the request's entry
--
-- Reply to a decision: whether there is room (1 or 0), then, unless that is all,
-- in milliseconds: until the cost would fit, until the log is empty; then for
-- each limit: units used, and milliseconds until some come free; then the time
-- and the total of the new entry, 0 and 0 when there is none.
-- Reply to a lease: the units that every limit had room for, and the units taken ahead.
-- Then, as in the reply to a decision, from the time until the log is empty to the end.
-- Then for each denied number of units: the number, and milliseconds until it would fit.
-- At most a quarter of the units left, and an eighth of each limit, are taken ahead.
-- All units taken are one entry.
-- Reply to a correction: 1, or 0 when it is too late or the entry is not there;
-- then nothing has changed.

-- prelude.lua

local modulus = 4503599627370496

local log, mode = KEYS[1], ARGV[1]
local units, longest, start = ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0
local limits = mode == 'lease' and #ARGV - 1 - 3 * ARGV[#ARGV] or #ARGV -- the last argument of the limits

-- What an entry says, but for its time and total.
local function cost(entry) return tonumber(entry[2][2]) end
local function back(entry) return tonumber(entry[2][4]) end
local function refunds(entry) return tonumber(entry[2][6]) end

-- after returns the first entry later than a time.
local function after(moment)
  return call('XRANGE', log, id(moment + 1), '+', 'COUNT', 1)[1]
end

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

-- used returns the units used in the window after a moment, and the time of the
-- first entry in it.
local function used(moment)
  local first = after(moment)
  local at, sum = read(first)
  local own, entries = cost(first), refunds(last) - refunds(first)
  if own < 0 then own, entries = 1, entries + 1 end
  sum = total - sum + own - entries
  if entries ~= 0 then
    local sure = moment + math.max(tonumber(last[2][8]), tonumber(last[2][10]))
    if at <= sure then first = after(sure) end
    if first then
      sum = sum - (back(last) - back(first)) % modulus + math.min(cost(first), 0)
    end
  end
  return sum % modulus, at
end

-- room reports whether the units will fit every limit at a moment, if nothing is
-- added.
local function room(moment)
  for i = 5, limits, 2 do
    local cut = moment - tonumber(ARGV[i + 1])
    if newest > cut and used(cut) + units > tonumber(ARGV[i]) then return false end
  end
  return true
end

-- fits returns a moment at which they fit, from the one given on, before which they
-- don't: the first one if nothing was given back. It is a binary search.
local function fits(moment)
  local low, high = moment - 1, newest + longest
  while high - low > 1 do
    if room(moment) then high = moment else low = moment end
    moment = low + floor((high - low) / 2)
  end
  return high
end

-- text returns a number as it is stored: mostly 0, which needs no formatting.
local function text(n) return n == 0 and '0' or format('%d', n) end

-- enter adds an entry; late is how long after its request units are given back.
-- It returns the entry's total.
local function enter(late)
  local sum = math.max(units, 1)
  local b, k, d, p = 0, 0, 0, 0
  local stretches = 2
  if last then
    sum = (total + sum) % modulus
    -- IDs must grow: a total that starts over needs a new millisecond.
    if sum < total and now == newest then now = now + 1 end
    b, k, d, p = back(last), refunds(last), tonumber(last[2][8]), tonumber(last[2][10])
    stretches = floor(now / longest) - floor(newest / longest)
    if stretches == 1 then d, p = 0, d elseif stretches > 1 then d, p = 0, 0 end
  else
    sum = start + sum
  end
  if units < 0 then
    b, k, d = (b - units) % modulus, (k + 1) % modulus, math.max(d, late)
  end
  -- Set to two windows by the first entry in each stretch, the time to live is
  -- at least one window after every entry. It counts from the new entry, which
  -- is ahead of a clock that stepped back. A log that is there gets it before the
  -- entry: an error leaves nothing counted.
  local life = stretches > 0 and format('%d', now - time + 2 * longest)
  if fresh then
    need('PEXPIRE', log, life)
  elseif life then
    call('PEXPIRE', log, life)
  end
  local entry, taken = format('%d-%d', now, sum), mode == 'lease' and text(units) or ARGV[2]
  if fresh then
    call('XADD', log, entry, 'c', taken, 'b', '0', 'k', '0', 'd', '0', 'p', '0')
    compact(log, KEYS[2])
    call('PEXPIRE', log, life)
    return sum
  end
  -- Trim only whole nodes: expired entries that are left do not count.
  call('XADD', log, 'MINID', '~', id(now - longest + 1), entry, 'c', taken, 'b', text(b), 'k', text(k), 'd', text(d), 'p', text(p))
  return sum
end

if mode == 'correct' then
  local late = 0
  if units < 0 then
    local request = call('XRANGE', log, ARGV[6], ARGV[6])[1]
    if not request then return {0} end
    late = now - read(request)
    if late > tonumber(ARGV[5]) then return {0} end
  end
  enter(late)
  return {1}
end

if mode == 'lease' then
  local ahead, space = units, modulus
  local reply, leaves = {0, 0, 0}, {}
  for i = 5, limits, 2 do
    local max, window = ARGV[i] + 0, ARGV[i + 1] + 0
    local taken, free = 0, 0
    if last and newest > now - window then
      taken, leaves[i] = used(now - window)
      if taken > 0 then free = leaves[i] + window - time end
    end
    reply[i - 1], reply[i] = taken, free
    space, ahead = math.min(space, max - taken), math.min(ahead, floor(max / 8))
  end
  if space < 0 then space = 0 end

  -- Serve the requests in order.
  local left, denied = space, {}
  for i = limits + 1, #ARGV - 1, 3 do
    local count, least, most = ARGV[i] + 0, ARGV[i + 1] + 0, ARGV[i + 2] + 0
    if least == most then
      local served = math.min(count, floor(left / least))
      left, count = left - served * least, count - served
    else
      while count > 0 and left >= least do
        left, count = left - math.min(left, most), count - 1
      end
    end
    if count > 0 then denied[#denied + 1] = least end
  end
  ahead = math.min(ahead, floor(left / 4))
  units = space - left + ahead
  reply[1], reply[2] = space, ahead

  local n = #reply
  reply[n + 1], reply[n + 2] = 0, 0
  if units > 0 then
    local sum = enter(0)
    reply[n + 1], reply[n + 2] = now, sum
    for i = 5, limits, 2 do
      reply[i - 1] = reply[i - 1] + units
      if reply[i] == 0 then reply[i] = now + ARGV[i + 1] - time end
      leaves[i] = leaves[i] or now
    end
    if #denied > 0 then
      last = call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
      newest, total = read(last)
    else
      last, newest = true, now
    end
  end
  if last then reply[3] = newest + longest - time end

  -- Find when the denied requests would fit: not before an entry leaves.
  for _, least in ipairs(denied) do
    local from = now + 1
    units = least
    for i = 5, limits, 2 do
      if reply[i - 1] + units > ARGV[i] + 0 then from = math.max(from, leaves[i] + ARGV[i + 1]) end
    end
    reply[#reply + 1], reply[#reply + 2] = least, fits(from) - time
  end
  return reply
end

local reply = {1, 0, 0}
for i = 5, #ARGV, 2 do
  local max, window = ARGV[i] + 0, ARGV[i + 1] + 0
  local taken, free = 0, 0
  if last and newest > now - window then
    local first
    taken, first = used(now - window)
    if taken > 0 then free = first + window - time end
    if taken + units > max then
      if mode == 'room' then return {0} end
      -- Never before the first entry leaves.
      reply[1] = 0
      reply[2] = math.max(reply[2], first + window)
    end
  end
  reply[i - 1], reply[i] = taken, free
end
if mode == 'room' then return {1} end
if reply[1] == 0 then reply[2] = fits(reply[2]) - time end

local n = #reply
reply[n + 1], reply[n + 2] = 0, 0
if reply[1] == 0 or mode == 'look' then
  if last then reply[3] = newest + longest - time end
  return reply
end
local sum = enter(0)
reply[3] = now + longest - time
for i = 4, n, 2 do
  reply[i] = reply[i] + units
  if reply[i + 1] == 0 then reply[i + 1] = now + tonumber(ARGV[i + 2]) - time end
end
reply[n + 1], reply[n + 2] = now, sum
return reply
