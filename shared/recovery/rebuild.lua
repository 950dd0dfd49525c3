#!lua flags=allow-oom
-- rebuild: carries out commands on a partition's keys, as long as its rebuilding is still the caller's.
--
-- Why one script: an opener that was stopped, and goes on when another has healed and opened, must not put old states
-- over new ones; nor may one go on writing to a server that was restarted, or wiped, under it.
--
-- KEYS  1 meta
-- ARGV  1 token of the rebuilding, 2 base of all keys, 3… as MessagePack: [name of a command, key without the base,
--       arguments…]
-- Returns 1, or 0 if the rebuilding is not the caller's any more: nothing was done
-- Called by shared/recovery/rebuilding.py.

local incarnation = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if redis.call('HGET', KEYS[1], 'rebuilding') ~= incarnation .. ' ' .. ARGV[1] then return 0 end
for i = 3, #ARGV do
  local command = cmsgpack.unpack(ARGV[i])
  command[2] = ARGV[2] .. command[2]
  redis.call(unpack(command))
end
return 1
