-- A decision on several logs, all or nothing. The scripts of the layouts stand
-- before this, each as a function of KEYS, ARGV and the time, which is read once
-- for all: counted, summed, refunded.
--
-- KEYS[1], KEYS[2]  the first log and its scratch key; KEYS[3] and KEYS[4] are
--                   those of the second, and so on. All are in one hash slot
-- ARGV[1]           for each log a character: 1, or 0 for one that does not
--                   hold up the others when it has no room
-- ARGV[2], ...      for each log: its layout's letter, how many arguments follow,
--                   and the arguments of its script without the first
--
-- Reply: those of the scripts, one after the other, each behind its length. Units
-- are taken if all logs that can hold up the request have room.

local time = redis.call('TIME')
local layouts = {c = counted, s = summed, r = refunded}

local logs, at, admitted = {}, 2, true
while at <= #ARGV do
  local n = #logs + 1
  local last = at + 1 + tonumber(ARGV[at + 1])
  local log = {
    script = layouts[ARGV[at]],
    keys = {KEYS[2 * n - 1], KEYS[2 * n]},
    args = {'2', unpack(ARGV, at + 2, last)},
  }
  log.room = log.script(log.keys, log.args, time)[1] == 1
  if not log.room and string.sub(ARGV[1], n, n) == '1' then admitted = false end
  logs[n] = log
  at = last + 1
end

local all = {}
for _, log in ipairs(logs) do
  log.args[1] = admitted and log.room and '1' or '0'
  local reply = log.script(log.keys, log.args, time)
  all[#all + 1] = #reply
  for _, value in ipairs(reply) do all[#all + 1] = value end
end
return all
