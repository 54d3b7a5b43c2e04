#!lua
-- Records the logs that a process writes, in one sorted set for all processes.
--
-- KEYS[1]  the set: the names of logs, as they follow the hash tag in their keys, by
--          when the log can hold nothing that counts any more, milliseconds
-- ARGV[1], ARGV[2], ...  for each log: its name, and for how long from now on it may
--                        hold something, milliseconds
--
-- Reply: for each log that any process has recorded, its name, and for how many
-- milliseconds it may hold something. Those that are over are deleted, and the set
-- ends with its last log.

local call, format = redis.call, string.format
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(n) return format('%d', n) end

for i = 1, #ARGV, 2 do call('ZADD', KEYS[1], 'GT', text(now + ARGV[i + 1]), ARGV[i]) end
for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now))) do call('ZREM', KEYS[1], name) end

local logs = call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'WITHSCORES')
if #logs > 0 then call('PEXPIRE', KEYS[1], text(logs[#logs] - now)) end
for i = 2, #logs, 2 do logs[i] = text(logs[i] - now) end
return logs
