-- commit: the only door. Applies a batch of units to one partition, each unit whole or not at all.
--
-- Why one script: the log entry, the snapshots, the due index, the work streams and the answer to a repeated
-- request must never be seen, or survive a crash, one without the other. Redis does not roll a script back, so
-- each unit is checked in full before its first write. Loaded twice, under two first lines: `#!lua` for units
-- that add work, `#!lua flags=allow-oom` for those that end it (a full queue must be able to drain).
--
-- KEYS  1 meta, 2 log, 3 due, 4 writer, 5 bell:timer, 6… whatever the units name by index
-- ARGV  seq, writer's ttl (ms), number of units, then unit after unit (lists are preceded by their length):
--         guards    index of the aggregate's key, expected version ('' = the key must not be there)
--         woken     member of due, score (ms) it had when it was read
--         once      index of the key ('0' = none) [, fingerprint, answer, ttl (ms)]
--         events    list of indexes of the aggregates it advances, '1' if it sets their fence, then
--                   id type v subject job advances actor cause corr trace data
--         states    index, JSON, ms to live ('' = for ever)
--         due       member, score (ms; '' = take it out)
--         enqueue   index of the work stream, of its bell, run id, number of the event (1…) that queued it
--         done      index of the work stream, entry id
--       All times in Unix ms; all numbers are strings, and stay so (a Lua number is a float).
-- Returns {'OK', now_ms, outcome of each unit…}:
--           {'committed', first position, last position}
--           {'conflict', index of the key, its version, its state, its fence}    ('' where there is none)
--           {'early', member}                     the due entry has moved, or its time has not come
--           {'once', fingerprint, answer, position}     the key has had its answer
--         or {'CLOSED'}: the server is not the incarnation that was opened; call open_log
--         or {'STALE', last seq}: a batch older than the writer's last
-- Called by shared/eventlog/log.py.

local meta, log, due, writer, bell = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local seq, writer_ttl = ARGV[1], ARGV[2]

local opened = redis.call('HMGET', meta, 'incarnation', 'epoch', 'pos', 'last_ms')
local incarnation = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if not opened[1] or opened[1] ~= incarnation then
  return {'CLOSED'}
end

local last = redis.call('HMGET', writer, 'seq', 'reply')
if last[1] == seq then
  return cmsgpack.unpack(last[2])
elseif last[1] and tonumber(last[1]) > tonumber(seq) then
  return {'STALE', last[1]}
end

local time = redis.call('TIME')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(opened[4]))
local now_text = string.format('%.0f', now)
local epoch, pos, pos_before = opened[2], tonumber(opened[3]), tonumber(opened[3])
local head = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
local cursor = 3

local function take()
  cursor = cursor + 1
  return ARGV[cursor]
end

local function take_rows(width)
  local rows = {}
  for i = 1, tonumber(take()) do
    local row = {}
    for j = 1, width do row[j] = take() end
    rows[i] = row
  end
  return rows
end

local function key(index)
  return KEYS[tonumber(index)]
end

local function position(offset)
  return epoch .. '-' .. string.format('%.0f', pos + offset)
end

local function take_unit()
  local unit = {guards = take_rows(2), woken = take_rows(2)}
  local once = take()
  if once ~= '0' then unit.once = {once, take(), take(), take()} end
  unit.events = {}
  for i = 1, tonumber(take()) do
    local event = {advances = take_rows(1), fences = take() == '1'}
    for j = 1, 11 do event[j] = take() end
    unit.events[i] = event
  end
  unit.states, unit.due, unit.enqueue, unit.done = take_rows(3), take_rows(2), take_rows(4), take_rows(2)
  return unit
end

local function refusal(unit)
  if unit.once then
    local had = redis.call('HMGET', key(unit.once[1]), 'fingerprint', 'answer', 'position')
    if had[1] then return {'once', had[1], had[2], had[3]} end
  end
  for _, woken in ipairs(unit.woken) do
    local score = redis.call('ZSCORE', due, woken[1])
    if not score or tonumber(score) ~= tonumber(woken[2]) or tonumber(score) > now then
      return {'early', woken[1]}
    end
  end
  for _, guard in ipairs(unit.guards) do
    local version = redis.call('HGET', key(guard[1]), 'version') or ''
    if version ~= guard[2] then
      local held = redis.call('HMGET', key(guard[1]), 'state', 'fence')
      return {'conflict', guard[1], version, held[1] or '', held[2] or ''}
    end
  end
end

local function append(unit)
  for i, event in ipairs(unit.events) do
    local id = position(i)
    local added = redis.call('XADD', log, 'NOMKSTREAM', id,
      'id', event[1], 'type', event[2], 'v', event[3], 'subject', event[4], 'job', event[5],
      'advances', event[6], 'at', now_text, 'actor', event[7], 'cause', event[8], 'corr', event[9],
      'trace', event[10], 'data', event[11])
    if not added then return false end
    for _, aggregate in ipairs(event.advances) do
      redis.call('HSET', key(aggregate[1]), 'version', id)
      if event.fences then redis.call('HSET', key(aggregate[1]), 'fence', id) end
    end
  end
  return true
end

local function ring(list)
  if redis.call('LLEN', list) == 0 then redis.call('RPUSH', list, '1') end
end

local function settle(unit)
  for _, state in ipairs(unit.states) do
    redis.call('HSET', key(state[1]), 'state', state[2])
    if state[3] == '' then
      redis.call('PERSIST', key(state[1]))
    else
      redis.call('PEXPIRE', key(state[1]), state[3])
    end
  end
  for _, entry in ipairs(unit.due) do
    if entry[2] == '' then
      redis.call('ZREM', due, entry[1])
    else
      redis.call('ZADD', due, entry[2], entry[1])
      if not head or tonumber(entry[2]) < tonumber(head) then
        head = entry[2]
        ring(bell)
      end
    end
  end
  for _, run in ipairs(unit.enqueue) do
    redis.call('XADD', key(run[1]), position(tonumber(run[4])), 'run', run[3])
    ring(key(run[2]))
  end
  for _, entry in ipairs(unit.done) do
    redis.call('XACK', key(entry[1]), 'executors', entry[2])
    redis.call('XDEL', key(entry[1]), entry[2])
  end
  if unit.once then
    local at = key(unit.once[1])
    redis.call('HSET', at, 'fingerprint', unit.once[2], 'answer', unit.once[3], 'position', position(#unit.events))
    redis.call('PEXPIRE', at, unit.once[4])
  end
end

local reply = {'OK', now_text}
for _ = 1, tonumber(ARGV[3]) do
  local unit = take_unit()
  local outcome = refusal(unit)
  if not outcome then
    if not append(unit) then return {'CLOSED'} end -- the log is gone: only ever before the first write
    settle(unit)
    outcome = {'committed', position(1), position(#unit.events)}
    pos = pos + #unit.events
  end
  reply[#reply + 1] = outcome
end

if pos > pos_before then
  redis.call('HSET', meta, 'pos', string.format('%.0f', pos), 'last_ms', now_text)
end
redis.call('HSET', writer, 'seq', seq, 'reply', cmsgpack.pack(reply))
redis.call('PEXPIRE', writer, writer_ttl)
return reply
