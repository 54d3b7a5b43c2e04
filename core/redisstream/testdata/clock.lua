#!lua
-- Puts a script under a clock of the test's. What follows runs unchanged, with
-- TIME, the IDs that XADD makes and the expiry of logs by the time in the last
-- argument instead of the server's. Each command is still one of the server's, which
-- may refuse it. Logs have a time to live of the server's as well, a long one.
local now = tonumber(table.remove(ARGV))
local days = '1000000000'

local server = redis

-- By how much the clock goes on whenever it is read, for a test of that. From one
-- script to the next it does not step back then.
local creep = 0
if creep > 0 then now = math.max(now, tonumber(server.call('GET', 'crept') or 0)) end
local function tick()
  if creep > 0 then
    now = now + creep
    server.call('SET', 'crept', string.format('%d', now))
  end
end

local redis = { acl_check_cmd = server.acl_check_cmd }

local function newID(log)
  if server.call('EXISTS', log) == 0 then return now > 0 and string.format('%d-0', now) or '0-1' end
  local info = server.call('XINFO', 'STREAM', log)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local ms, seq = string.match(info[i + 1], '(%d+)-(%d+)')
      if tonumber(ms) < now then return string.format('%d-0', now) end
      return string.format('%s-%d', ms, tonumber(seq) + 1)
    end
  end
end

local function clocked(how)
  return function(command, ...)
    local args = { ... }
    if command == 'TIME' then
      local time = server[how]('TIME')
      if time.err then return time end
      tick()
      return { string.format('%d', math.floor(now / 1000)), string.format('%d', now % 1000 * 1000) }
    elseif command == 'XADD' and args[2] == '*' then
      tick()
      args[2] = newID(args[1])
    elseif command == 'PEXPIRE' and tonumber(args[2]) > 0 then
      local set = server[how]('PEXPIRE', args[1], days)
      local kept = args[3] == 'GT' and tonumber(server.call('GET', args[1] .. ':expiry') or math.huge) or 0
      if set == 1 and now + tonumber(args[2]) > kept then
        server.call('SET', args[1] .. ':expiry', string.format('%d', now + tonumber(args[2])), 'PX', days)
      end
      return set
    end
    return server[how](command, unpack(args))
  end
end
redis.call, redis.pcall = clocked('call'), clocked('pcall')

for i = 1, #KEYS, 2 do
  local expires = server.call('GET', KEYS[i] .. ':expiry')
  if expires and now > tonumber(expires) then server.call('DEL', KEYS[i], KEYS[i] .. ':expiry') end
end

