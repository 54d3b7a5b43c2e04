#!lua flags=allow-oom
-- Renews the slots of a process, or releases them: those of many policies and keys in one
-- call. It takes no new memory, so it also runs when the server has none left.
--
-- KEYS[1], ...  the slots of each policy and key: see slots.lua
-- ARGV[1]       renew or release
-- ARGV[2], ...  for each of them: the hold in milliseconds, how many tokens follow, and
--               the tokens
--
-- Reply: for each token 1, or 0 if there is no such slot.

-- prelude.lua

-- A failure on one key must not fail the others, but a missing command must not make a
-- slot look renewed or freed.
local renews = ARGV[1] == 'renew'
if renews then
  need('ZADD', KEYS[1], 'XX', '0', '')
  need('ZSCORE', KEYS[1], '')
  need('PEXPIRE', KEYS[1], '1')
else
  need('ZREM', KEYS[1], '')
end
local now = clock()

local reply, at, size = {}, 2, 0
local hold, expiry, life -- of the last key; mostly all are the same
for k = 1, #KEYS do
  local slots, count = KEYS[k], tonumber(ARGV[at + 1])
  if ARGV[at] ~= hold then
    hold = ARGV[at]
    expiry, life = format('%d', now + hold), format('%d', 2 * hold)
  end
  -- Mostly all are there: one command then takes a third of the time.
  local all = false
  if renews and count > 1 then
    local command = {'ZADD', slots, 'XX', 'CH'}
    for i = 1, count do
      command[3 + 2 * i], command[4 + 2 * i] = expiry, ARGV[at + 1 + i]
    end
    all = try(unpack(command)) == count
  end
  local found = all
  for i = at + 2, at + 1 + count do
    local done = all
    if renews and not all then
      -- A slot that is renewed twice in a millisecond has not changed.
      done = try('ZADD', slots, 'XX', 'CH', expiry, ARGV[i]) == 1 or type(try('ZSCORE', slots, ARGV[i])) == 'string'
    elseif not renews then
      done = try('ZREM', slots, ARGV[i]) == 1
    end
    if done then found = true end
    size = size + 1
    reply[size] = done and 1 or 0
  end
  if renews and found then try('PEXPIRE', slots, life, 'GT') end
  at = at + 2 + count
end
return reply
