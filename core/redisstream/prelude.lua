-- What the scripts share. script.go puts it in the place of the line
-- "-- prelude.lua" of each, and once before the scripts that call several layouts.

local call, try = redis.call, redis.pcall

-- clock returns the server's time, in milliseconds: the same one to all parts of
-- a script. Before Redis 7.2 the server's own goes on while a script runs.
local moment
local function clock()
  if not moment then
    local time = call('TIME')
    moment = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return moment
end

-- read returns both numbers of an entry's ID: its time, and its total in a summed
-- or refunded log.
local function read(entry)
  local ms, number = string.match(entry[1], '(%d+)-(%d+)')
  return ms + 0, number + 0
end

-- id returns a time as the start of an ID. A window can begin before 1970, where
-- IDs do not reach.
local function id(ms)
  if ms < 0 then ms = 0 end
  return string.format('%d', ms)
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

