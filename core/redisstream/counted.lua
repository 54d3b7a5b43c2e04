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
-- ARGV[1]  take; look, to take nothing; room, to ask only whether there is room
-- ARGV[2]  how many requests; 1 unless units are taken
-- ARGV[3]  the limit: units in a window
-- ARGV[4]  the window, milliseconds
--
-- Reply: how many requests there is room for, then, unless only that was asked, in
-- milliseconds: until another would fit if there was none for all, until the log
-- is empty; then units used, and milliseconds until some come free. Or units used
-- alone: all are taken, none is the log's first or last, and all times are those of
-- a request that has just been admitted: 0, and the window. All five numbers would
-- take the server a twentieth longer.

local log, mode = KEYS[1], ARGV[1]
-- Adding 0 makes a number of a text in half the time that tonumber takes.
local asked, max, window = ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0

-- The fast path, for most requests: there is room even if nothing has left the
-- window. The ID of the new entry tells the time; to read the clock as well would
-- take a sixth longer. Once that entry is there the requests are counted, and nothing
-- may fail the script: it does without a command that the user has lost since the log
-- began.
local before, used, now, added, trimmed
if mode == 'take' then
  before = redis.call('XLEN', log)
  if 0 < before and before + asked < max then
    local id = redis.call('XADD', log, '*', '', '')
    local stamp, dash = string.sub(id, 1, 13), string.sub(id, 14)
    local time
    if dash ~= '-0' then
      -- The entry is as late as the one before it, which may be ahead of a clock that
      -- stepped back. Or its time does not have 13 digits, before 2001 and after 2286.
      if string.byte(dash) ~= 45 then stamp = string.match(id, '%d+') end
      time = redis.pcall('TIME')
    end
    for _ = 2, asked do redis.call('XADD', log, stamp .. '-*', '', '') end
    added = stamp + 0
    now = added
    local cut = added - window + 1
    if time then
      if time.err then
        cut = 0
      else
        now = math.min(time[1] * 1000 + math.floor(time[2] / 1000), added)
        cut = now - window + 1
        if cut < 0 then cut = 0 end
      end
    end
    trimmed = redis.pcall('XTRIM', log, 'MINID', string.format('%d', cut))
    used = before + asked
    if trimmed == 0 and now == added then return {used} end
  end
end

-- prelude.lua

-- ms returns the time of an entry, in milliseconds.
local function ms(entry) return match(entry[1], '%d+') + 0 end

-- keep sets the log's time to live: two windows, from its newest entry on where that
-- is ahead of a clock that stepped back. Set whenever the log was empty or lost
-- entries, it is at least one window after every admission: a decision more than a
-- window after it was set finds the entries of that time trimmed.
local function keep(run, newest, ...)
  run('PEXPIRE', log, format('%d', math.max(newest - now, 0) + 2 * window), ...)
end

if added then
  keep(try, added)
  -- Without XTRIM, what has left the window counts until the log is full.
  if type(trimmed) == 'number' then used = used - trimmed end
  if used == asked then compact(log, KEYS[2]) end
  return {asked, 0, added + window - now, used, window}
end

-- A fresh log. What the fast path needs, too, is known to work before it begins.
if before == 0 then
  need('TIME')
  need('XTRIM', log, 'MINID', '0')
  need('PEXPIRE', log, '1')
  local granted = math.min(asked, max)
  local id = call('XADD', log, '*', '', '')
  added = ms({id})
  for _ = 2, granted do call('XADD', log, format('%d-*', added), '', '') end
  -- A log that others left empty goes on from its last entry.
  now = string.sub(id, -2) == '-0' and added or math.min(clock(), added)
  compact(log, KEYS[2])
  keep(call, added)
  local free = added + window - now
  return {granted, granted < asked and free or 0, free, granted, free}
end

-- The exact path: by the clock, and cut to the window before it is counted.
now = clock()
trimmed = call('XTRIM', log, 'MINID', id(now - window + 1))
used = before and before - trimmed or call('XLEN', log)
local admits = used < max and mode == 'take'
-- What was trimmed now is not at the next call, which then would not keep the log.
-- GT leaves a longer life, that of an entry ahead of the clock.
if trimmed > 0 then
  if admits then keep(call, now) else keep(call, now, 'GT') end
end

if admits then
  local granted = math.min(asked, max - used)
  local free = window
  if used > 0 and used + granted == max then
    free = ms(call('XRANGE', log, '-', '+', 'COUNT', 1)[1]) + window - now
  end
  added = now
  if type(try('XADD', log, format('%d-*', now), '', '')) ~= 'string' then
    -- The clock stepped back behind the newest entry: go on from that.
    need('PEXPIRE', log, '1')
    added = ms({call('XADD', log, '*', '', '')})
    keep(call, added)
    if used == 0 then free = added + window - now end
  end
  for _ = 2, granted do call('XADD', log, format('%d-*', added), '', '') end
  if used == 0 then compact(log, KEYS[2]) end
  return {granted, granted < asked and free or 0, added + window - now, used + granted, free}
end

if mode == 'room' then return {used < max and 1 or 0} end
if used == 0 then return {1, 0, 0, 0, 0} end
local newest = ms(call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1])
local oldest = ms(call('XRANGE', log, '-', '+', 'COUNT', 1)[1])
local free, reset = oldest + window - now, newest + window - now
if used < max then return {1, 0, reset, used, free} end
local leaving = oldest
if used > max then
  -- The limit was lowered: so many must leave that fewer than max are left. The last
  -- of them is the first of the newest max. Reading 1000 entries takes as long as
  -- copying 50,000 and cutting the copy, so that is done unless a few will do. A log
  -- of more than 100,000, which would take a millisecond, is not copied, nor is one
  -- while its slot moves or without the command: where more than 1000 entries
  -- were to be read then, the answer is a time before which nothing fits.
  local out = used - max + 1
  local near = math.min(out, max)
  local range
  if near > 100 and used <= 100000 and KEYS[2] and try('COPY', log, KEYS[2], 'REPLACE') == 1 then
    call('XTRIM', KEYS[2], 'MAXLEN', max)
    range = call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
    call('PEXPIRE', KEYS[2], '0')
  elseif max < out and max <= 1000 then
    range = call('XREVRANGE', log, '+', '-', 'COUNT', max)
  else
    range = call('XRANGE', log, '-', '+', 'COUNT', math.min(out, 1000))
  end
  leaving = ms(range[#range])
end
return {0, leaving + window - now, reset, used, free}
