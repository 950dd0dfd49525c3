#!lua flags=allow-oom
-- limit: whether one more is granted, and that it was (the generic cell rate algorithm: a leaky bucket in one number).
--
-- Why one script: two processes must not both grant the last one. Redis has the only clock. The keys always have a
-- time to live, so they may be written where Redis is out of memory.
--
-- Who is refused just comes again, or takes a turn: a time for each, as far apart as one leaks away. Nobody else is
-- granted anything while turns are given out, so that those who wait are not overtaken, and come one by one.
--
-- KEYS  1 limiter: when (Unix µs) the bucket will be empty again [, 2 turns: when the next is, in the same unit]
-- ARGV  1 µs in which one leaks away, maybe with a fraction, 2 how many fit at once [, 3 µs that one may be granted ahead
--       of its time, 4 '1' for who comes at its turn]
-- Returns {µs until the next is granted (0: this one is), how many more are granted at once, µs until all are}
--         with turns: {'granted', µs until it is time} or {'turn', µs until it is}
-- Called by shared/eventlog/limiter.py.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local empty_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = math.max(0, empty_at - now - (most - 1) * interval)

local function set(key, at)
  redis.call('SET', key, string.format('%.2f', at), 'PX', string.format('%.0f', math.ceil((at - now) / 1000)))
end

if KEYS[2] then
  local turn = math.max(tonumber(redis.call('GET', KEYS[2]) or now), now)
  if wait > tonumber(ARGV[3]) or (ARGV[4] ~= '1' and turn > now + wait) then
    turn = math.max(turn, now + wait)
    set(KEYS[2], turn + interval)
    return {'turn', math.ceil(turn - now)}
  end
  set(KEYS[1], empty_at + interval)
  return {'granted', math.ceil(wait)}
end

if wait > 0 then return {math.ceil(wait), 0, math.ceil(empty_at - now)} end
empty_at = empty_at + interval
set(KEYS[1], empty_at)
local full = empty_at - now
return {0, math.floor((most * interval - full) / interval + 0.001), math.ceil(full)}
