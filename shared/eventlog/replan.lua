#!lua
-- replan: notes by which zone tables the jobs of a partition are planned, and whether all of them are.
--
-- Atomic because an old and a new timer may both be there while a deployment is upgraded: whoever has seen something
-- else than what stands there now is told so, and looks again.
--
-- KEYS  1 tzdata
-- ARGV  1 version that was seen ('' = none), 2 version to note, 3 '1' if all jobs have been looked at, else '0'
-- Returns 1 if it was noted, 0 if another version stands there.
-- Called by shared/eventlog/replan.py.

if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end
if ARGV[1] ~= ARGV[2] then
  local time = redis.call('TIME')
  local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call('HSET', KEYS[1], 'version', ARGV[2], 'before', ARGV[1], 'since', now)
end
redis.call('HSET', KEYS[1], 'walked', ARGV[3])
return 1
