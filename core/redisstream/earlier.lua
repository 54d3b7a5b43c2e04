-- A decision on a log of any layout that also counts the policy's earlier logs: those
-- from before its limits were changed. The prelude and the scripts of the layouts stand
-- before this. script.go makes it a function of KEYS and ARGV as the others.
--
-- KEYS[1], KEYS[2]  the log and its scratch key, as for its layout's script
-- ARGV[1]           the mode of the layout's script: take, look or room
-- ARGV[2]           the layout's letter
-- ARGV[3]           how many earlier logs there are
-- ARGV[4], ...      for each: its layout's letter, its longest window and its lease,
--                   milliseconds
-- then              the arguments of the layout's script after the first
-- the last          which pair of all keys of the call is that of the first earlier
--                   log. The others follow it
--
-- Reply: that of the layout's script, all numbers of it, with the earlier logs' units.
--
-- What the earlier logs hold is taken off each limit before the log's own script decides.
-- They get no entry. A counted one is cut to its window on the way, as by its own
-- script. No log counts for longer than its own longest window.

-- So many entries at each end of a counted log are looked at. Those in between cannot be
-- told apart: they count until all have left, which can deny too much and never too
-- little.
local most = 256
local huge = 4503599627370496

local layouts = {c = counted, s = summed, r = refunded}
local mode, letter, count = ARGV[1], ARGV[2], ARGV[3] + 0
local args = {mode, unpack(ARGV, 4 + 3 * count, #ARGV - 1)}
local now = clock()

-- The limits.
local maxes, windows = {}, {}
local longest = 0
local start = letter == 'c' and 3 or 5
for i = start, #args, 2 do
  maxes[#maxes + 1] = args[i] + 0
  windows[#windows + 1] = args[i + 1] + 0
  longest = math.max(longest, args[i + 1] + 0)
end
local cost = letter == 'c' and 1 or args[2] + 0

-- times returns the times of entries at an end of a counted log.
local function times(command, log, from, to)
  local all = call(command, log, from, to, 'COUNT', most)
  for i = 1, #all do all[i] = match(all[i][1], '%d+') + 0 end
  return all
end

-- split returns how many of the times, which grow, are not after a moment.
local function split(all, moment)
  local low, high = 0, #all
  while low < high do
    local middle = floor((low + high + 1) / 2)
    if all[middle] <= moment then low = middle else high = middle - 1 end
  end
  return low
end

-- reader returns a function of a time: for each limit the units used in the log in the
-- window that ends then, and when the first of them leave. It also returns when the
-- log is empty for the policy. Units of a lease can be used until the lease ends, so they
-- count for that much longer.
local function reader(log, layout, own, lease)
  local cut = {}
  for i, window in ipairs(windows) do cut[i] = math.min(window + lease, own) end
  if layout ~= 'c' then
    local question = {'look', 0, own, 0}
    for _, window in ipairs(cut) do
      question[#question + 1], question[#question + 2] = huge, window
    end
    local ends
    local function read(time)
      moment = time
      local reply = layouts[layout]({log}, question)
      moment = now
      if not ends then ends = reply[3] > 0 and time + reply[3] - own + math.min(own, longest + lease) or 0 end
      local used, leaves = {}, {}
      for i = 1, #cut do
        used[i], leaves[i] = reply[2 + 2 * i], time + reply[3 + 2 * i]
      end
      return used, leaves
    end
    read(now)
    return read, ends
  end
  local reply = counted({log}, {'look', 1, huge, own})
  local all = reply[4]
  local oldest, newest = now + reply[5] - own, now + reply[3] - own
  local head, tail
  local function after(moment)
    if all == 0 or moment >= newest then return 0 end
    if moment < oldest then return all end
    head = head or times('XRANGE', log, '-', '+')
    local out = split(head, moment)
    if out < #head then return all - out end
    if not tail then
      tail = times('XREVRANGE', log, '+', '-')
      for i = 1, floor(#tail / 2) do tail[i], tail[#tail + 1 - i] = tail[#tail + 1 - i], tail[i] end
    end
    out = split(tail, moment)
    if out > 0 then return #tail - out end
    return all - #head
  end
  local function read(time)
    local used, leaves = {}, {}
    for i, window in ipairs(cut) do
      local first = oldest
      used[i] = after(time - window)
      if time == now and used[i] > 0 and oldest <= time - window then
        first = match(call('XRANGE', log, id(time - window + 1), '+', 'COUNT', 1)[1][1], '%d+') + 0
      end
      leaves[i] = first + window
    end
    return used, leaves
  end
  return read, all > 0 and newest + math.min(own, longest) or 0
end

-- What the earlier logs hold now.
local readers, held, leaving = {}, {}, {}
local ends = 0
for i = 1, #windows do held[i], leaving[i] = 0, math.huge end
for n = 1, count do
  local layout, own, lease = ARGV[1 + 3 * n], ARGV[2 + 3 * n] + 0, ARGV[3 + 3 * n] + 0
  local read, empty = reader(keys[2 * (ARGV[#ARGV] + n) - 3], layout, own, lease)
  local used, leaves = read(now)
  readers[n] = read
  ends = math.max(ends, empty)
  for i = 1, #windows do
    if used[i] > 0 then
      held[i], leaving[i] = held[i] + used[i], math.min(leaving[i], leaves[i])
    end
  end
end

-- The log's own script decides on what they leave of the limits. Where they leave too
-- little, it only tells what the log holds.
local full = false
for i = 1, #windows do
  if held[i] + cost > maxes[i] then full = true end
end
if full and mode == 'room' then return {0} end
for i = 1, #windows do
  args[start + 2 * i - 2] = format('%d', full and huge or maxes[i] - held[i])
end
if full then args[1] = 'look' end
local reply = layouts[letter](KEYS, args)
if mode == 'room' then return reply end
if #reply == 1 then reply = {args[2] + 0, 0, longest, reply[1], longest} end
if full then reply[1] = 0 end
if ends > 0 then reply[3] = math.max(reply[3], ends - now) end
for i = 1, #windows do
  reply[2 + 2 * i] = reply[2 + 2 * i] + held[i]
  local free = leaving[i] - now
  if held[i] > 0 and (reply[3 + 2 * i] == 0 or free < reply[3 + 2 * i]) then reply[3 + 2 * i] = free end
end
local asked = letter == 'c' and mode == 'take' and args[2] + 0 or 1
if reply[1] == asked or ends <= now then return reply end

-- When the cost would fit is found by a binary search, with the units of all logs. A
-- log with refunds that holds no units now can hold some later: what was given back
-- counts no more, and its request still does.
readers[count + 1] = reader(KEYS[1], letter, longest, 0)
local function room(time)
  local sums = {}
  for i = 1, #windows do sums[i] = cost end
  for _, read in ipairs(readers) do
    local used = read(time)
    for i = 1, #windows do sums[i] = sums[i] + used[i] end
  end
  for i = 1, #windows do
    if sums[i] > maxes[i] then return false end
  end
  return true
end
local low, high = now, now + reply[3]
while high - low > 1 do
  local middle = low + floor((high - low) / 2)
  if room(middle) then high = middle else low = middle end
end
reply[2] = high - now
return reply
