-- What the scripts share. script.go puts it in the place of the line
-- "-- prelude.lua" of each, and once before the scripts that call several layouts.

local call, try = redis.call, redis.pcall
local format, floor, match = string.format, math.floor, string.match

-- clock returns the server's time, in milliseconds: the same one to all parts of
-- a script. Before Redis 7.2 the server's own goes on while a script runs.
local moment
local function clock()
  if not moment then
    local time = call('TIME')
    moment = time[1] * 1000 + floor(time[2] / 1000)
  end
  return moment
end

-- read returns the time and the total of an entry of a summed or refunded log. Adding 0
-- makes a number of a text in half the time that tonumber takes.
local function read(entry)
  local time, total = match(entry[1], '(%d+)-(%d+)')
  return time + 0, total + 0
end

-- id returns a time as the start of an ID. A window can begin before 1970, where
-- IDs do not reach.
local function id(time)
  if time < 0 then time = 0 end
  return format('%d', time)
end

-- need fails with the server's own error unless this server has a command and this
-- user may run it. It is for what a script runs after its first write. The command
-- it gets must do no harm.
local function need(...)
  local known, allowed = pcall(redis.acl_check_cmd, ...)
  if not (known and allowed) then call(...) end
end

-- compact gives a new log the memory that it needs: the server allocates 4 kB for
-- the first entries of a stream, and a copy has no slack. It is left out where the
-- server or the user can't copy or rename. It never fails, and leaves no copy.
local function compact(log, scratch)
  if scratch and try('COPY', log, scratch, 'REPLACE') == 1 and try('RENAME', scratch, log).err then
    try('PEXPIRE', scratch, '0')
  end
end

