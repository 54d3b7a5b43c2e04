-- A decision on several logs, all or nothing. The prelude and the scripts of the
-- layouts stand before this, each of these as a function of KEYS and ARGV: counted,
-- summed, refunded, calendar, slots.
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

local layouts = {c = counted, s = summed, r = refunded, p = calendar, i = slots}

-- All logs have room at the same time, or not.
clock()

local logs, at, admitted = {}, 2, true
while at <= #ARGV do
  local n = #logs + 1
  local last = at + 1 + tonumber(ARGV[at + 1])
  local log = {
    script = layouts[ARGV[at]],
    keys = {KEYS[2 * n - 1], KEYS[2 * n]},
    args = {'room', unpack(ARGV, at + 2, last)},
  }
  local reply = log.script(log.keys, log.args)
  log.room = #reply == 1 and reply[1] == 1
  -- Two numbers are those of calendar.lua outside a period: nobody is admitted.
  if not log.room and (#reply > 1 or string.sub(ARGV[1], n, n) == '1') then admitted = false end
  logs[n] = log
  at = last + 1
end

local function run(log, mode)
  log.args[1] = mode
  log.reply = log.script(log.keys, log.args)
end

-- Once one log has taken its units, none of the others may fail. Looking comes
-- first, and what taking needs beyond it is known to work.
for _, log in ipairs(logs) do
  if not (admitted and log.room) then run(log, 'look') end
end
if admitted then
  need('PEXPIRE', KEYS[2] or KEYS[1], '1')
  need('XRANGE', KEYS[1], '-', '+', 'COUNT', '1')
  need('XADD', KEYS[1], 'NOMKSTREAM', '*', '', '')
end
for _, log in ipairs(logs) do
  if not log.reply then run(log, 'take') end
end

local all = {}
for _, log in ipairs(logs) do
  all[#all + 1] = #log.reply
  for _, value in ipairs(log.reply) do all[#all + 1] = value end
end
return all
