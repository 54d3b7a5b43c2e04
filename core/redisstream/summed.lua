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
-- ARGV[1]  1 to take units, 0 to look only, 2 to ask only whether there is room
-- ARGV[2]  how many units: the cost
-- ARGV[3]  the longest window, milliseconds
-- ARGV[4]  the slice of a coarse log, milliseconds: the time within which
--          requests share an entry; 0 when each has its own
-- ARGV[5], ARGV[6], ...  for each limit: units in a window, window in milliseconds
--
-- Reply: whether there is room (1 or 0), then, unless that is all, in
-- milliseconds: until the cost would fit, until the log is empty; then for each
-- limit: units used, and milliseconds until some come free.

local modulus = 4503599627370496

local log = KEYS[1]
local cost, longest, slice = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)

-- Time and total of an entry; the time has 13 digits until the year 2286.
local function ms(entry) return tonumber(string.sub(entry[1], 1, 13)) end
local function total(entry) return tonumber(string.sub(entry[1], 15)) end

local now = clock
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local fresh = not last
if last then
  -- Time never runs backwards within a log, whatever the clock does.
  now = math.max(clock, ms(last))
  if ms(last) <= now - longest then last = false end
end

-- units(entry) is what has left a window that starts with first once entry
-- leaves it.
local function units(entry, first)
  return (total(entry) - total(first) + tonumber(first[2][2])) % modulus
end

-- When enough will have left the window: the time of the entry with which at
-- least over units leave, by binary search over the times of entries.
local function leaving(first, over)
  local low, high = ms(first), ms(last)
  if units(first, first) >= over then return low end
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = redis.call('XREVRANGE', log, string.format('%d', middle), '-', 'COUNT', 1)[1]
    if units(entry, first) >= over then
      high = ms(entry)
    else
      low = middle + 1
    end
  end
  return high
end

local reply = {1, 0, 0}
for i = 5, #ARGV, 2 do
  local max, window = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local used, free = 0, 0
  if last and ms(last) > now - window then
    local first = redis.call('XRANGE', log, string.format('%d', now - window + 1), '+', 'COUNT', 1)[1]
    used = units(last, first)
    free = ms(first) + window - clock
    if used + cost > max then
      if ARGV[1] == '2' then return {0} end
      reply[1] = 0
      reply[2] = math.max(reply[2], leaving(first, used + cost - max) + window - clock)
    end
  end
  reply[i - 1], reply[i] = used, free
end
if ARGV[1] == '2' then return {1} end

if reply[1] == 0 or ARGV[1] == '0' then
  if last then reply[3] = ms(last) + longest - clock end
  return reply
end

local sum = cost
if last then
  sum = (total(last) + cost) % modulus
  -- IDs must grow: a total that starts over needs a new millisecond.
  if sum < cost and now == ms(last) then now = now + 1 end
end
local entry = ARGV[2]
if slice > 0 and last and math.floor(ms(last) / slice) == math.floor(now / slice) then
  -- Its entry takes in the newest one. Such logs are trimmed by whole nodes only:
  -- an exact trim after XDEL can leave a file that newer servers refuse to load.
  redis.call('XDEL', log, last[1])
  entry = string.format('%d', cost + tonumber(last[2][2]))
end
-- Whole nodes of expired entries go; which of them are left does not matter.
redis.call('XADD', log, 'MINID', '~', string.format('%d', now - longest + 1),
  string.format('%d-%d', now, sum), 'c', entry)
if fresh then
  -- The server allocates 4 kB for the first entries of a stream; a copy has
  -- just what it needs. A server that can't copy keeps the slack.
  if KEYS[2] and redis.pcall('COPY', log, KEYS[2], 'REPLACE') == 1 then
    redis.call('RENAME', KEYS[2], log)
  end
end
-- Set to two windows by the first admission in each aligned stretch of one
-- window, the time to live is at least one window after every admission. It
-- counts from the new entry, which is ahead of a clock that stepped back.
if not last or math.floor(ms(last) / longest) < math.floor(now / longest) then
  redis.call('PEXPIRE', log, string.format('%d', now - clock + 2 * longest))
end

reply[3] = now + longest - clock
for i = 4, #reply, 2 do
  reply[i] = reply[i] + cost
  if reply[i + 1] == 0 then reply[i + 1] = now + tonumber(ARGV[i + 2]) - clock end
end
return reply
