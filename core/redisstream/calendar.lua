#!lua
-- One decision or correction on a log with calendar limits, alone or beside limits that
-- slide.
--
-- As in summed.lua, the ID of an entry is ms-total: its time, and the units admitted in
-- the log up to and including it, modulo 2^52. Its fields, of which all but the first are
-- carried on from entry to entry:
--
--   c  its cost; of an entry that gives back units, those units below 0. Such an entry
--      counts 1 in the total, since IDs must grow
--   b  units given back in the log so far to the limits that slide, modulo 2^52
--   k  entries so far that give back units, modulo 2^52
--   d  the longest time, in milliseconds, between a request and its refund, as in
--      refunded.lua, among the refunds that count for limits that slide
--   p  the same for the stretch before
--   r  what this entry gives back to the limits that slide
--   s  the total before the log's first entry
--   1  the units used in the first period around the entry's time, without those given
--      back; 2 for the second period, and so on
--
-- Where no limit slides, the newest entry is the only one.
--
-- KEYS[1]  the log
-- KEYS[2]  scratch, in the same hash slot; gone when the script ends. Left out
--          while the slot moves to another node, which allows one key only
-- ARGV[1]  take; look, to take nothing; room, to ask only whether there is room;
--          correct, to correct what was taken
-- ARGV[2]  how many units: the cost; the correction, which is below 0 to give back and
--          above 0 to charge
-- ARGV[3]  the longest window of the limits that slide, milliseconds; 0 for none
-- ARGV[4]  the total at which a new log starts, as in refunded.lua
-- ARGV[5]  how many periods the log has
-- ARGV[6], ARGV[7], ...  for each period: its start and its end, Unix milliseconds
-- To decide, after the periods:
-- for each limit: units, and its window in milliseconds or, below 0, which period it has
-- To correct, after the periods: how long after the request units can be given back,
--          milliseconds; then the time and the total of the request's entry
--
-- Reply where the time of the log lies outside a period: the server's time and the log's,
-- Unix milliseconds. Nothing has changed.
-- Reply to a decision: whether there is room (1 or 0), then, unless that is all, in
-- milliseconds: until the cost would fit, until the log is empty; then for each limit:
-- units used, and milliseconds until some come free; then the time and the total of the
-- new entry, 0 and 0 when there is none.
-- Reply to a correction: 1, or 0 when it is too late or the request is not in the log;
-- then nothing has changed. It is too late, too, once the request is in no period any more
-- and is older than half of the longest window.

-- prelude.lua

local modulus = 4503599627370496
local day = 86400000

local log, mode = KEYS[1], ARGV[1]
local units, sliding, start, periods = ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0, ARGV[5] + 0
local first = 6 + 2 * periods -- the first argument after the periods

-- What an entry says, but for its time and total.
local function cost(entry) return entry[2][2] + 0 end
local function back(entry) return entry[2][4] + 0 end
local function refunds(entry) return entry[2][6] + 0 end
local function own(entry) return entry[2][12] + 0 end

-- The last entry, with its time and total.
local last = call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local newest, total
local time = clock()
local now = time
if last then
  newest, total = read(last)
  -- Time never runs backwards within a log, whatever the clock does.
  if newest > now then now = newest end
end

-- The periods around the log's time, and the units used in each.
local begins, ends, counts = {}, {}, {}
local over = now -- when the last of the periods is over
for i = 1, periods do
  begins[i], ends[i] = ARGV[4 + 2 * i] + 0, ARGV[5 + 2 * i] + 0
  if now < begins[i] or now >= ends[i] then return {time, now} end
  counts[i] = last and newest >= begins[i] and last[2][14 + 2 * i] + 0 or 0
  over = math.max(over, ends[i])
end

-- after returns the first entry later than a time.
local function after(moment)
  return call('XRANGE', log, id(moment + 1), '+', 'COUNT', 1)[1]
end

-- slid returns the units used in the window after a moment, and the time of the first
-- entry in it.
local function slid(moment)
  local entry = after(moment)
  local at, sum = read(entry)
  local taken, entries = cost(entry), refunds(last) - refunds(entry)
  if taken < 0 then taken, entries = 1, entries + 1 end
  sum = total - sum + taken - entries
  if entries ~= 0 then
    local sure = moment + math.max(last[2][8] + 0, last[2][10] + 0)
    if at <= sure then entry = after(sure) end
    if entry then sum = sum - (back(last) - back(entry)) % modulus - own(entry) end
  end
  return sum % modulus, at
end

-- used returns the units that a limit counts at a moment if nothing is added, and when
-- the first of them leave.
local function used(window, moment)
  if window < 0 then
    local i = -window
    return moment < ends[i] and counts[i] or 0, ends[i]
  elseif not last or newest <= moment - window then
    return 0, 0
  end
  local taken, at = slid(moment - window)
  return taken, at + window
end

-- text returns a number as it is stored: mostly 0, which needs no formatting.
local function text(n) return n == 0 and '0' or format('%d', n) end

-- enter adds an entry. request is when the units that it gives back were taken. It
-- returns the entry's total.
local function enter(request)
  local sum = math.max(units, 1)
  local b, k, d, p, given, begun = 0, 0, 0, 0, 0, start
  if last then
    sum = (total + sum) % modulus
    -- IDs must grow: a total that starts over needs a new millisecond.
    if sum < total and now == newest then now = now + 1 end
    b, k, d, p, begun = back(last), refunds(last), last[2][8] + 0, last[2][10] + 0, last[2][14] + 0
    if sliding > 0 then
      local stretches = floor(now / sliding) - floor(newest / sliding)
      if stretches == 1 then d, p = 0, d elseif stretches > 1 then d, p = 0, 0 end
    end
  else
    sum = start + sum
  end
  if units < 0 then
    k = (k + 1) % modulus
    -- A later refund says nothing about limits that slide, and would hide others.
    if now - request <= sliding / 2 then
      b, d, given = (b - units) % modulus, math.max(d, now - request), -units
    end
  end
  -- The time to live ends a day after the last period and window that have the entry. A
  -- log that is there gets it before the entry: an error leaves nothing counted.
  local life = format('%d', math.max(over, now + sliding) - time + day)
  if last then
    call('PEXPIRE', log, life)
  else
    need('PEXPIRE', log, life)
  end
  local fields = {'c', ARGV[2], 'b', text(b), 'k', text(k), 'd', text(d), 'p', text(p), 'r', text(given), 's', text(begun)}
  for i = 1, periods do
    local count = counts[i]
    if request >= begins[i] then count = math.max(count + units, 0) end
    fields[13 + 2 * i], fields[14 + 2 * i] = text(i), text(count)
  end
  local entry = format('%d-%d', now, sum)
  if sliding == 0 then
    call('XADD', log, 'MAXLEN', '1', entry, unpack(fields))
  else
    -- Trim only whole nodes: expired entries that are left do not count.
    call('XADD', log, 'MINID', '~', id(now - sliding + 1), entry, unpack(fields))
  end
  if not last then
    compact(log, KEYS[2])
    call('PEXPIRE', log, life)
  end
  return sum
end

if mode == 'correct' then
  local request = now
  if units < 0 then
    request = ARGV[first + 1] + 0
    local upTo = ARGV[first + 2] + 0
    if not last or now - request > ARGV[first] + 0 or request > now then return {0} end
    -- The request is in this log if its total is one that the log has had.
    if (total - upTo) % modulus >= (total - last[2][14]) % modulus then return {0} end
    -- It must still count for a limit.
    local counted = now - request <= sliding / 2
    for i = 1, periods do counted = counted or request >= begins[i] end
    if not counted then return {0} end
  end
  enter(request)
  return {1}
end

local reply = {1, 0, 0}
local leaves = 0
for i = first, #ARGV, 2 do
  local taken, at = used(ARGV[i + 1] + 0, now)
  if taken + units > ARGV[i] + 0 then
    if mode == 'room' then return {0} end
    -- Never before the first entry leaves.
    reply[1] = 0
    leaves = math.max(leaves, at)
  end
  reply[#reply + 1], reply[#reply + 2] = taken, taken > 0 and at - time or 0
end
if mode == 'room' then return {1} end

if reply[1] == 0 then
  -- Find when the cost would fit by a binary search: at once if nothing was given back.
  local low, high = leaves - 1, math.max(newest + sliding, over)
  while high - low > 1 do
    local fits = true
    for i = first, #ARGV, 2 do
      if used(ARGV[i + 1] + 0, leaves) + units > ARGV[i] + 0 then fits = false end
    end
    if fits then high = leaves else low = leaves end
    leaves = low + floor((high - low) / 2)
  end
  reply[2] = high - time
end

local n = #reply
reply[n + 1], reply[n + 2] = 0, 0
if reply[1] == 1 and mode == 'take' then
  local sum = enter(now)
  for i = 4, n, 2 do
    reply[i] = reply[i] + units
    local window = ARGV[first + i - 3] + 0
    if reply[i + 1] == 0 then reply[i + 1] = (window < 0 and ends[-window] or now + window) - time end
  end
  reply[n + 1], reply[n + 2] = now, sum
  newest = now
end
if newest then
  local empty = newest + sliding
  for i = 1, periods do
    if newest >= begins[i] then empty = math.max(empty, ends[i]) end
  end
  if empty > now then reply[3] = empty - time end
end
return reply
