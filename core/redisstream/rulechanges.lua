#!lua flags=no-writes
-- What has changed in the rules since a version, or a part of all rules: see rules.lua.
-- Its cost depends on what it replies, and not on how many rules there are.
--
-- KEYS     as in rules.lua
-- ARGV[1]  the version that is known; '' to read all rules
-- ARGV[2]  for all rules: after which number to go on, or '-inf'
-- ARGV[3]  for all rules: up to which number, or '+inf'
-- ARGV[4]  how many changes or rules at most
--
-- Reply: the server's time, seconds and microseconds; the version; and an array.
--
-- For changes it has, for each change after the one that is known, oldest first, its
-- version and an array of IDs and values. Nothing follows the version when the one that
-- is known is not among the last changes: then all rules have to be read.
--
-- For all rules it has the number of the last change, the ID and the value of each, in
-- the order of their numbers. It is an error when the order was lost and the rules were
-- not, until a change has made it anew.

local call = redis.call
local rules, order, changes = KEYS[1], KEYS[2], KEYS[4]
local known, after, upto, most = unpack(ARGV)
local time = call('TIME')
local version = call('HGET', rules, 'version') or '0-0'
local reply = {time[1], time[2], version}

if known == version then
  reply[4] = {}
elseif known ~= '' then
  if version ~= '0-0' and #call('XRANGE', changes, known, known) == 1 then
    local news = {}
    for i, entry in ipairs(call('XRANGE', changes, '(' .. known, '+', 'COUNT', most)) do
      news[2 * i - 1], news[2 * i] = entry[1], entry[2]
    end
    reply[4] = news
  end
elseif version ~= '0-0' and call('ZCARD', order) ~= call('HLEN', rules) - 1 then
  return redis.error_reply('ERR the order of the rules is lost: the next change of a rule restores it')
else
  local page, ids = {}, {}
  for i, text in ipairs(call('ZRANGEBYSCORE', order, '(' .. after, upto, 'WITHSCORES', 'LIMIT', 0, most)) do
    if i % 2 == 1 then
      ids[#ids + 1] = text
    else
      page[3 * i / 2 - 2] = text
    end
  end
  if #ids > 0 then
    for i, value in ipairs(call('HMGET', rules, unpack(ids))) do
      page[3 * i - 1], page[3 * i] = ids[i], value or ''
    end
  end
  reply[4] = page
end
return reply
