#!lua flags=allow-oom
-- gcra: whether one more is granted, and that it was (the generic cell rate algorithm: a leaky bucket in one number).
--
-- Why one script: two API processes must not both grant the last one. Redis has the only clock. The key always has a
-- time to live, so it may be written where Redis is out of memory.
--
-- KEYS  1 limiter: when (Unix µs) the bucket will be empty again
-- ARGV  1 µs in which one leaks away, maybe with a fraction, 2 how many fit at once
-- Returns {µs until the next is granted (0: this one is), how many more are granted at once, µs until all are}
-- Called by services/api/limits.py.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local empty_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = empty_at - now - (most - 1) * interval
if wait > 0 then return {math.ceil(wait), 0, math.ceil(empty_at - now)} end
empty_at = empty_at + interval
local full = empty_at - now
redis.call('SET', KEYS[1], string.format('%.2f', empty_at), 'PX', string.format('%.0f', math.ceil(full / 1000)))
return {0, math.floor((most * interval - full) / interval + 0.001), math.ceil(full)}
