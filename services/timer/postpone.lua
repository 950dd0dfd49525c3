#!lua flags=allow-oom
-- postpone: moves an entry of the due index that can't be decided, so that it doesn't stop the others.
--
-- Atomic because an edit may have given the aggregate a new time since the score was read; that one stands.
--
-- KEYS  1 due
-- ARGV  1 member, 2 the score (ms) it was seen with, 3 its new score (ms)
-- Returns 1 if it was moved, 0 if it had changed.
-- Called by services/timer/service.py.

local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], 'XX', ARGV[3], ARGV[1])
return 1
