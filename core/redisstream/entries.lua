#!lua flags=no-writes
-- The newest entries of a log of any layout, and the server's time: both in one read,
-- since the nodes of a Cluster or Ring have clocks of their own.
--
-- KEYS[1]  the log
-- ARGV[1]  how many entries at most
--
-- Reply: the time as TIME has it, seconds and microseconds; then for each entry, newest
-- first, its ID, and the name and value of its first field.

local reply = redis.call('TIME')
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])) do
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = entry[1], entry[2][1], entry[2][2]
end
return reply
