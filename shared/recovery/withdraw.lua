#!lua flags=allow-oom
-- withdraw: takes a partition's log out of service, so that its write side can be made anew from the archive.
--
-- Why one script: from here on nobody may write to it, however far the rebuilding comes; and whoever finds it
-- half-made must see an empty log, which the archive is ahead of, and never an old tail beside new snapshots.
--
-- KEYS  1 meta, 2 log
-- ARGV  1 id of the log's last entry as compared ('' = there is no log), 2 incarnation of the server then, 3 token of
--       this rebuilding: none has had it
-- Returns 1, or 0 if the server or its log is not the one that was compared
-- Called by shared/recovery/rebuilding.py.

local meta, log = KEYS[1], KEYS[2]
local incarnation = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
local tail = ''
if last[1] then tail = last[1][1] end
if incarnation ~= ARGV[2] or tail ~= ARGV[1] then return 0 end
redis.call('HDEL', meta, 'incarnation')
redis.call('HSET', meta, 'rebuilding', incarnation .. ' ' .. ARGV[3])
redis.call('UNLINK', log)
return 1
