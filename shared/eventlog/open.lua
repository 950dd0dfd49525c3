#!lua flags=allow-oom
-- open: lets a partition be written to by this incarnation of the server, after it was compared with the archive.
--
-- Why one script: between the comparison and the opening the server may have been restarted again, or another
-- service may have opened; so the tail is looked at once more, and the LogOpened, the position and the incarnation
-- are written together or not at all.
--
-- KEYS  1 meta, 2 log, 3 due
-- ARGV  1 id of the log's last entry as compared ('' = there is no log), or `rebuilt <token>`: there is none, and the
--         write side was made anew under this token, by this very incarnation, and nobody has begun again since
--       2 new epoch, 3 position of the LogOpened, 4 partitions of the deployment
--       5 ms that the lease of a running run is to last from now
--       6… 17 the envelope of the LogOpened: id type v subject job advances at actor cause corr trace data, where
--          `at` is the least time (ms) it may bear
--       18… members of due that are running runs: each gets a fresh lease, as its worker may be alive
-- Returns {'OPENED', position} · {'MOVED', last id}: the tail is not the one compared · {'ALREADY'}: somebody opened
-- Called by shared/eventlog/opening.py.

local meta, log, due = KEYS[1], KEYS[2], KEYS[3]
local incarnation = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if redis.call('HGET', meta, 'incarnation') == incarnation and redis.call('EXISTS', log) == 1 then
  return {'ALREADY'}
end

local tail = ''
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
if last[1] then tail = last[1][1] end
local token = string.match(ARGV[1], '^rebuilt (.+)$')
if token then
  if tail ~= '' or redis.call('HGET', meta, 'rebuilding') ~= incarnation .. ' ' .. token then return {'MOVED', tail} end
elseif tail ~= ARGV[1] then
  return {'MOVED', tail}
end

local time = redis.call('TIME')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[12]))
local id = ARGV[2] .. '-' .. ARGV[3]
redis.call('XADD', log, id, 'id', ARGV[6], 'type', ARGV[7], 'v', ARGV[8], 'subject', ARGV[9], 'job', ARGV[10],
  'advances', ARGV[11], 'at', string.format('%.0f', now), 'actor', ARGV[13], 'cause', ARGV[14], 'corr', ARGV[15],
  'trace', ARGV[16], 'data', ARGV[17])
redis.call('HSET', meta, 'epoch', ARGV[2], 'pos', ARGV[3], 'partitions', ARGV[4], 'incarnation', incarnation,
  'last_ms', string.format('%.0f', now))
-- Permits that were given just before may be lost, unless nothing was ever: see permits.lua.
if tail ~= '' or token then redis.call('HSET', meta, 'granting_ms', string.format('%.0f', now + tonumber(ARGV[5]))) end
redis.call('HDEL', meta, 'rebuilding')
for i = 18, #ARGV do
  redis.call('ZADD', due, 'XX', 'GT', string.format('%.0f', now + tonumber(ARGV[5])), ARGV[i])
end
return {'OPENED', id}
