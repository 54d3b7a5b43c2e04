-- Calls of the layouts' scripts that have nothing to do with each other, in one round trip. The prelude
-- and the scripts of the layouts stand before this, as before together.lua.
--
-- KEYS[1], KEYS[2]  the first log and its scratch key; KEYS[3] and KEYS[4] are
--                   those of the second, and so on
-- ARGV[1], ...      for each log: its layout's letter, how many arguments follow,
--                   and the arguments of its script
--
-- Reply: those of the scripts, one after the other, each behind its length; of one
-- that fails, 0 alone.

local layouts = {c = counted, s = summed, r = refunded, p = calendar, i = slots}

local all, size, at, n = {}, 0, 1, 0
while at <= #ARGV do
  n = n + 1
  local last = at + 1 + tonumber(ARGV[at + 1])
  local done, reply = pcall(layouts[ARGV[at]], {KEYS[2 * n - 1], KEYS[2 * n]}, {unpack(ARGV, at + 2, last)})
  if not done then reply = {} end
  size = size + 1
  all[size] = #reply
  for i = 1, #reply do all[size + i] = reply[i] end
  size = size + #reply
  at = last + 1
end
return all
