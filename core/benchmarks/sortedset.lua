-- One decision on a log in a sorted set: 1 if the request is admitted.
--
-- KEYS[1]  the log; a member is an admitted request, its score the time
-- ARGV[1]  the limit
-- ARGV[2]  the window, microseconds

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now - ARGV[2]))
local n = redis.call('ZCARD', KEYS[1])
if n >= tonumber(ARGV[1]) then return 0 end
-- Two requests in a microsecond are two members.
local member = string.format('%d', now)
while redis.call('ZADD', KEYS[1], 'NX', string.format('%d', now), member) == 0 do member = member .. '+' end
redis.call('PEXPIRE', KEYS[1], string.format('%d', math.ceil(ARGV[2] / 1000)))
return 1
