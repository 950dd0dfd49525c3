#!lua flags=allow-oom
-- permits: which runs of one concurrency key may be at work, and which wait for that, the first first.
--
-- Why one script: two executors must not both take the last permit; and one that is given back must go to whoever waits,
-- and to nobody who comes just then. A permit whose time is up is never taken away here: the log knows whether its run
-- is at work still, and who wants it asks there (`shared/eventlog/handover.py`). All keys have a time to live, so they
-- may be written where Redis is out of memory.
--
-- After an opening permits may be lost that the server had given just before. Until `granting_ms`, one lease later, none
-- is granted, and the heartbeats of runs that are at work put theirs back.
--
-- KEYS  1 permits: zset of runs → when (ms) somebody is to look whether each is still at work
--       2 holders: hash of the same runs → id of the entry of a work stream that each came by; '0-0': it waits no longer,
--         and a permit is kept for it for a moment, until it comes
--       3 waiting: zset '<run> <limit>' → since when (ms)
--       4 meta of the partition
-- ARGV  1 what to do, 2 ms that a permit stands unseen, 3 ms that one is kept for who has waited, then
--       take    run, entry, limit, since when it waits (ms, '' = it hasn't)
--               → {'granted'} · {'stale'}: it came by a later entry already · {'closed', ms until one may ask again} ·
--                 {'refused', {runs for which permits are kept now}, {run, entry, … of permits whose time is up}}
--       wait    run, limit, since (ms)      → {runs for which permits are kept now}
--       free    run, entry, limit, over     → the same; a permit taken by a later entry stays. over '1': it waits no more
--       keep    run, entry, …               → number of those that were put back
-- Called by shared/eventlog/permits.py, and by the thread of services/executor/heartbeat.py (keep).

local permits, holders, waiting, meta = unpack(KEYS)
local ttl_ms, kept_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
local KEPT = '0-0' -- earlier than any entry
local FORGOTTEN_MS = 24 * 3600 * 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function is_later(entry, other)
  local epoch, pos = string.match(entry, '^(%d+)-(%d+)$')
  local other_epoch, other_pos = string.match(other, '^(%d+)-(%d+)$')
  if epoch ~= other_epoch then return tonumber(epoch) > tonumber(other_epoch) end
  return tonumber(pos) > tonumber(other_pos)
end

local function put(run, entry, for_ms)
  redis.call('ZADD', permits, string.format('%.0f', now + for_ms), run)
  redis.call('HSET', holders, run, entry)
  redis.call('PEXPIRE', permits, FORGOTTEN_MS)
  redis.call('PEXPIRE', holders, FORGOTTEN_MS)
end

local function drop(run)
  redis.call('ZREM', permits, run)
  redis.call('HDEL', holders, run)
end

local function closed_ms()
  local opened = redis.call('HMGET', meta, 'incarnation', 'granting_ms')
  local incarnation = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  if opened[1] ~= incarnation then return ttl_ms end
  return math.max(0, tonumber(opened[2] or 0) - now)
end

local function time_is_up()
  return redis.call('ZRANGE', permits, '-inf', string.format('%.0f', now), 'BYSCORE')
end

local function drop_those_who_did_not_come()
  for _, run in ipairs(time_is_up()) do
    if redis.call('HGET', holders, run) == KEPT then drop(run) end
  end
end

-- Keeps permits for those that wait, as many as there are; the first that must wait on keeps all others waiting.
local function pass_on()
  local called = {}
  if closed_ms() > 0 then return called end
  drop_those_who_did_not_come()
  local count = redis.call('ZCARD', permits)
  while true do
    local first = redis.call('ZRANGE', waiting, 0, 0)[1]
    if not first then return called end
    local run, limit = string.match(first, '^(%S+) (%d+)$')
    if redis.call('HEXISTS', holders, run) == 0 then
      if count >= tonumber(limit) then return called end
      put(run, KEPT, kept_ms)
      count = count + 1
      called[#called + 1] = run
    end
    redis.call('ZREM', waiting, first)
  end
end

local function is_first(member, since)
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  return not first[1] or first[1] == member or (since ~= '' and tonumber(since) <= tonumber(first[2]))
end

local function take(run, entry, limit, since)
  local member, holder = run .. ' ' .. limit, redis.call('HGET', holders, run)
  if holder and is_later(holder, entry) then return {'stale'} end
  local closed = closed_ms()
  if not holder then
    if closed > 0 then return {'closed', closed} end
    drop_those_who_did_not_come()
    if redis.call('ZCARD', permits) >= tonumber(limit) or not is_first(member, since) then
      local unseen = {}
      for _, each in ipairs(time_is_up()) do
        unseen[#unseen + 1] = each
        unseen[#unseen + 1] = redis.call('HGET', holders, each) or KEPT
      end
      return {'refused', pass_on(), unseen}
    end
  end
  put(run, entry, ttl_ms)
  redis.call('ZREM', waiting, member)
  return {'granted'}
end

local function wait(run, limit, since)
  if redis.call('HEXISTS', holders, run) == 1 then return {run} end
  redis.call('ZADD', waiting, since, run .. ' ' .. limit)
  redis.call('PEXPIRE', waiting, FORGOTTEN_MS)
  return pass_on()
end

local function free(run, entry, limit, over)
  local holder = redis.call('HGET', holders, run)
  if holder and not is_later(holder, entry) then drop(run) end
  if over == '1' then redis.call('ZREM', waiting, run .. ' ' .. limit) end
  return pass_on()
end

local function keep()
  local put_back, is_closed = 0, closed_ms() > 0
  for i = 4, #ARGV, 2 do
    local run, entry = ARGV[i], ARGV[i + 1]
    local holder = redis.call('HGET', holders, run)
    if holder and not is_later(holder, entry) then
      put(run, entry, ttl_ms)
    elseif not holder and is_closed then -- else it was given back, a moment ago
      put(run, entry, ttl_ms)
      put_back = put_back + 1
    end
  end
  return put_back
end

local what = ARGV[1]
if what == 'take' then return take(ARGV[4], ARGV[5], ARGV[6], ARGV[7]) end
if what == 'wait' then return wait(ARGV[4], ARGV[5], ARGV[6]) end
if what == 'free' then return free(ARGV[4], ARGV[5], ARGV[6], ARGV[7]) end
if what == 'keep' then return keep() end
return redis.error_reply('no such thing to do: ' .. what)
