#!lua flags=allow-oom
-- failures: whether an address may fail to authenticate once more, and that it did (GCRA, a leaky bucket in one number).
--
-- Why one script: two API processes must not both grant the last try. The key always has a time to live, so it may
-- be written where Redis is out of memory.
--
-- KEYS  1 attempts: when (Unix ms) the bucket will be empty again
-- ARGV  1 ms in which one failure leaks away, 2 failures that fit at once
-- Returns 0, or in how many ms the next try is granted
-- Called by services/api/auth.py.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local empty_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = empty_at - now - (burst - 1) * interval
if wait > 0 then return wait end
empty_at = empty_at + interval
redis.call('SET', KEYS[1], string.format('%.0f', empty_at), 'PX', string.format('%.0f', empty_at - now))
return 0
