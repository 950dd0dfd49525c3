#!lua flags=allow-oom
-- Say that a replica lives, forget those that have been silent, and tell who is left: in one step and by the
-- server's clock, so that replicas whose clocks differ agree on their number.
--
-- KEYS[1]  zset    replica -> ms (Redis TIME) at which it is forgotten; the key itself goes when all are
-- silent ARGV[1]  string  who lives ARGV[2]  integer ms until it is forgotten Returns  the names of all
-- living replicas, in no order that matters Called by shared/lease.py, Share.renew
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1)
