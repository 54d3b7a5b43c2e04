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

local keys, args, reply, at = KEYS, ARGV, {}, 2
local hold, expiry, life -- of the last key; mostly all are the same

-- renew makes a slot live for another hold.
local function renew(slots, token)
  local changed = try('ZADD', slots, 'XX', 'CH', expiry, token)
  -- A slot that is renewed twice in a millisecond has not changed.
  return changed == 1 or type(try('ZSCORE', slots, token)) == 'string'
end

-- renewAll renews several slots by one command, which takes a third of the time. It
-- returns false if not all of them are there.
local function renewAll(slots, first, count)
  local command = {'ZADD', slots, 'XX', 'CH'}
  for i = 1, count do
    command[3 + 2 * i], command[4 + 2 * i] = expiry, args[first + i - 1]
  end
  return try(unpack(command)) == count
end

for k = 1, #keys do
  local slots, count = keys[k], args[at + 1] + 0
  if args[at] ~= hold then
    hold = args[at]
    expiry = format('%d', now + hold)
    -- A live slot is renewed at least once a hold. So it is enough to extend the life of
    -- its set, which takes as long as the renewal, in one hold of four: the set then lives
    -- for at least another hold after its slots have expired.
    life = renews and now % (4 * hold) < hold + 0 and format('%d', 6 * hold)
  end
  local first, found = at + 2, false
  at = first + count
  local all = renews and count > 1 and renewAll(slots, first, count)
  for i = first, at - 1 do
    local done = all
    if not renews then
      done = try('ZREM', slots, args[i]) == 1
    elseif not all then
      done = renew(slots, args[i])
    end
    found = found or done
    reply[#reply + 1] = done and 1 or 0
  end
  if life and found then try('PEXPIRE', slots, life, 'GT') end
end
return reply
