#!lua
-- One decision on a counted log: a single limit, every request costs 1. Or the
-- decisions on several requests at once: the first of them get what is left.
--
-- An entry is an admitted request and carries nothing; its ID is its time. The
-- log is cut to the window exactly, so that its length is the count.
--
-- KEYS[1]  the log
-- KEYS[2]  scratch, in the same hash slot; gone when the script ends. Left out
--          while the slot moves to another node, which allows one key only
-- ARGV[1]  1 to take units, 0 to look only, 2 to ask only whether there is room
-- ARGV[2]  how many requests; 1 unless units are taken
-- ARGV[3]  the limit: units in a window
-- ARGV[4]  the window, milliseconds
--
-- Reply: how many requests there is room for, then, unless only that was asked, in
-- milliseconds: until another would fit if there was none for all, until the log
-- is empty; then units used, and milliseconds until some come free. Or units used
-- alone: all are taken, none is the log's first or last, and all times are those of
-- a request that has just been admitted: 0, and the window.

local log = KEYS[1]
local asked, max, window = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local before, used, now, added

-- Most requests: there is room even if nothing has left the window. The ID of the
-- new entry tells the time; to read the clock as well would take a sixth longer.
if ARGV[1] == '1' then
  before = redis.call('XLEN', log)
  if before + asked <= max then
    local id = redis.call('XADD', log, '*', '', '')
    local stamp = string.sub(id, 1, 13)
    for _ = 2, asked do redis.call('XADD', log, stamp .. '-*', '', '') end
    added = tonumber(stamp)
    now = added
    if string.sub(id, 14) ~= '-0' then
      -- As late as the entry before it, which may be ahead of a clock that stepped back.
      local clock = redis.call('TIME')
      now = math.min(clock[1] * 1000 + math.floor(clock[2] / 1000), added)
    end
    local trimmed = redis.call('XTRIM', log, 'MINID', string.format('%d', now - window + 1))
    used = before + asked - trimmed
    if 0 < before and trimmed == 0 and used < max and added == now then return {used} end
  end
end

if not used then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- By the time read above: the server's own goes on within a script before
-- Redis 7.2, and would make an entry a tick late.
local cut, stamp = string.format('%d', now - window + 1), string.format('%d-*', now)

-- The time of an entry: 13 digits of its ID until the year 2286.
local function ms(entry) return tonumber(string.sub(entry[1], 1, 13)) end

-- Set to two windows whenever the log was empty or lost entries, the time to
-- live is at least one window after every admission: a decision more than a
-- window after it was set finds the entries of that time trimmed. It counts
-- from the newest entry where that is ahead of a clock that stepped back.
local function keep(newest)
  redis.call('PEXPIRE', log, string.format('%d', math.max(newest - now, 0) + 2 * window))
end

-- The reply to requests of which the first are granted, at the time added. used
-- counts them, fresh is whether the log was empty, and trimmed whether it lost
-- entries.
local function admitted(granted, used, fresh, trimmed, added)
  if fresh and KEYS[2] then
    -- The server allocates 4 kB for the first entries of a stream; a copy has
    -- just what it needs. A server that can't copy keeps the slack.
    if redis.pcall('COPY', log, KEYS[2], 'REPLACE') == 1 then redis.call('RENAME', KEYS[2], log) end
  end
  if fresh or trimmed or added > now then keep(added) end
  local free = window
  if fresh then
    free = added + window - now
  elseif used == max then
    free = ms(redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]) + window - now
  end
  return {granted, granted < asked and free or 0, added + window - now, used, free}
end

if used then return admitted(asked, used, used == asked, used < before + asked, added) end

local trimmed = redis.call('XTRIM', log, 'MINID', cut)
used = redis.call('XLEN', log)

if used < max and ARGV[1] == '1' then
  local granted = math.min(asked, max - used)
  local added = now
  for _ = 1, granted do
    if type(redis.pcall('XADD', log, stamp, '', '')) ~= 'string' then
      -- The clock stepped back behind the newest entry: go on from that.
      added = ms({redis.call('XADD', log, '*', '', '')})
    end
  end
  return admitted(granted, used + granted, used == 0, trimmed > 0, added)
end

-- What was trimmed now is not at the next call, which then would not keep the log.
if ARGV[1] == '2' and trimmed == 0 then return {used < max and 1 or 0} end
if used == 0 then return {1, 0, 0, 0, 0} end
local newest = ms(redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1])
if trimmed > 0 then keep(newest) end
if ARGV[1] == '2' then return {used < max and 1 or 0} end
local oldest = ms(redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1])
local free, reset = oldest + window - now, newest + window - now
if used < max then return {1, 0, reset, used, free} end
local leaving = oldest
if used > max then
  -- The limit was lowered: so many must leave that fewer than max are left. The
  -- last of them is found from the nearer end. Beyond 1000 entries it is not
  -- looked for: the answer is then a time before which nothing fits.
  local out = used - max + 1
  local range
  if max < out and max <= 1000 then
    range = redis.call('XREVRANGE', log, '+', '-', 'COUNT', max)
  else
    range = redis.call('XRANGE', log, '-', '+', 'COUNT', math.min(out, 1000))
  end
  leaving = ms(range[#range])
end
return {0, leaving + window - now, reset, used, free}
