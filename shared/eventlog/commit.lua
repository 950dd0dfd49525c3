-- commit: the only door. Applies a batch of units to one partition, each unit whole or not at all.
--
-- Why one script: the log entry, the snapshots, the due index, the work streams and the answer to a repeated
-- request must never be seen, or survive a crash, one without the other. Redis does not roll a script back, so
-- each unit is checked in full before its first write. Loaded twice, under two first lines: `#!lua` for units
-- that add work, `#!lua flags=allow-oom` for those that end it (a full queue must be able to drain).
--
-- Arguments are read where they stand, without tables for them: building those took most of the script's time. What
-- units do to the due index, and entries of work streams that they have done with, is written once for the batch.
--
-- KEYS  1 meta, 2 log, 3 due, 4 writer, 5 bell:timer. The others are named by the units: what they begin with, hash
--       tag included, is an argument.
-- ARGV  seq, writer's ttl (ms), base of all keys, number of units, then unit after unit (lists are preceded by their
--       length):
--         how many arguments of the unit follow
--         once      digest ('' = none) [, fingerprint, answer, ttl (ms)]
--         woken     member of due, score (ms) it had when it was read
--         advances  ref of an aggregate, expected version ('' = its key must not be there), number (1…) of the event
--                   that is its version now, of the one that is its fence ('0' = as it is), JSON, ms to live ('' = as
--                   it is, '0' = for ever)
--         events    id type v subject job advances actor cause corr trace data
--         due       member, score (ms; '' = take it out)
--         enqueue   queue, priority, run id, number of the event that queued it, id of the job that follows it ('' = none)
--         done      queue, priority, entry id
--       All times in Unix ms; all numbers are strings, and stay so (a Lua number is a float).
-- Returns {'OK', now_ms, epoch, outcome of each unit…}:
--           pos of its first event                it is written
--           {'conflict', ref, its version, its state, its fence}    ('' where there is none)
--           {'early', member}                     the due entry has moved, or its time has not come
--           {'once', fingerprint, answer, position}     the key has had its answer
--         or {'CLOSED'}: the server is not the incarnation that was opened; call open_log
--         or {'STALE', last seq}: a batch older than the writer's last
-- Called by shared/eventlog/writer.py.

local KEYS, ARGV, call, tonumber, format = KEYS, ARGV, redis.call, tonumber, string.format
local meta, log, due, writer, bell = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local RING_WITHIN_MS = 2000 -- twice a timer's longest sleep: what is due later, it sees by itself in time
local seq, writer_ttl, base = ARGV[1], ARGV[2], ARGV[3]

local opened = call('HMGET', meta, 'incarnation', 'epoch', 'pos', 'last_ms')
local incarnation = string.match(call('INFO', 'replication'), 'master_replid:(%x+)')
if not opened[1] or opened[1] ~= incarnation then
  return {'CLOSED'}
end

local last = call('HMGET', writer, 'seq', 'reply')
if last[1] == seq then
  return cmsgpack.unpack(last[2])
elseif last[1] and tonumber(last[1]) > tonumber(seq) then
  return {'STALE', last[1]}
end

local time = call('TIME')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(opened[4]))
local now_text = format('%.0f', now)
local epoch, pos, pos_before = opened[2] .. '-', tonumber(opened[3]), tonumber(opened[3])
local at = 4 -- the argument read last
local positions = {} -- of the unit's events, by their number as text
local advances_at = 0 -- where the unit's advances stand
local SMALL = {['0'] = 0, ['1'] = 1, ['2'] = 2, ['3'] = 3} -- spares reading nearly every number
local NUMBERS = {'1', '2', '3', '4', '5', '6', '7', '8', '9'}

-- What the batch does in the end: scores that members of due have from now on ('' = none), entries done with by work
-- stream, bells to be rung.
local moved, done, rung = {}, {}, {}

local function count()
  at = at + 1
  local text = ARGV[at]
  return SMALL[text] or tonumber(text)
end

local function refusal()
  local once = ARGV[at + 1]
  at = at + 1
  if once ~= '' then
    local had = call('HMGET', base .. 'once:' .. once, 'fingerprint', 'answer', 'position')
    if had[1] then return {'once', had[1], had[2], had[3]} end
    at = at + 3
  end
  for _ = 1, count() do
    local member, expected = ARGV[at + 1], ARGV[at + 2]
    local score = tonumber(moved[member] or call('ZSCORE', due, member) or nil)
    if score ~= tonumber(expected) or score > now then return {'early', member} end
    at = at + 2
  end
  advances_at = at
  for _ = 1, count() do
    local aggregate, expected = base .. ARGV[at + 1], ARGV[at + 2]
    local version = call('HGET', aggregate, 'version') or ''
    if version ~= expected then
      local held = call('HMGET', aggregate, 'state', 'fence')
      return {'conflict', ARGV[at + 1], version, held[1] or '', held[2] or ''}
    end
    at = at + 6
  end
end

local function append()
  local events = count()
  for i = 1, events do
    local id = epoch .. format('%.0f', pos + i)
    local added = call('XADD', log, 'NOMKSTREAM', id,
      'id', ARGV[at + 1], 'type', ARGV[at + 2], 'v', ARGV[at + 3], 'subject', ARGV[at + 4], 'job', ARGV[at + 5],
      'advances', ARGV[at + 6], 'at', now_text, 'actor', ARGV[at + 7], 'cause', ARGV[at + 8], 'corr', ARGV[at + 9],
      'trace', ARGV[at + 10], 'data', ARGV[at + 11])
    if not added then return nil end
    positions[NUMBERS[i] or tostring(i)] = id
    at = at + 11
  end
  return events
end

local function write_advances()
  local from = advances_at + 1
  for _ = 1, SMALL[ARGV[from]] or tonumber(ARGV[from]) do
    local aggregate, version, fence, json, live = base .. ARGV[from + 1], positions[ARGV[from + 3]],
      positions[ARGV[from + 4]], ARGV[from + 5], ARGV[from + 6]
    if fence then
      call('HSET', aggregate, 'version', version, 'state', json, 'fence', fence)
    else
      call('HSET', aggregate, 'version', version, 'state', json)
    end
    if live == '0' then
      call('PERSIST', aggregate)
    elseif live ~= '' then
      call('PEXPIRE', aggregate, live)
    end
    from = from + 6
  end
end

local function write_due()
  for _ = 1, count() do
    moved[ARGV[at + 1]] = ARGV[at + 2]
    at = at + 2
  end
end

local function write_work()
  for _ = 1, count() do
    local queue, run, id, job = ARGV[at + 1], ARGV[at + 3], positions[ARGV[at + 4]], ARGV[at + 5]
    local stream = base .. 'work:' .. queue .. ':' .. ARGV[at + 2]
    if job == '' then
      call('XADD', stream, id, 'run', run)
    else
      call('XADD', stream, id, 'run', run, 'job', job)
    end
    rung[base .. 'bell:' .. queue] = true
    at = at + 5
  end
  for _ = 1, count() do
    local stream = base .. 'work:' .. ARGV[at + 1] .. ':' .. ARGV[at + 2]
    done[stream] = done[stream] or {}
    table.insert(done[stream], ARGV[at + 3])
    at = at + 3
  end
end

local function answer_once(from, position)
  local once = ARGV[from]
  if once ~= '' then
    local name = base .. 'once:' .. once
    call('HSET', name, 'fingerprint', ARGV[from + 1], 'answer', ARGV[from + 2], 'position', position)
    call('PEXPIRE', name, ARGV[from + 3])
  end
end

local function write_moved()
  local head = call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
  local earliest = nil
  local added, removed = {}, {}
  for member, score in pairs(moved) do
    if score == '' then
      removed[#removed + 1] = member
    else
      added[#added + 1] = score
      added[#added + 1] = member
      local ms = tonumber(score)
      if not earliest or ms < earliest then earliest = ms end
    end
  end
  if removed[1] then call('ZREM', due, unpack(removed)) end
  if added[1] then call('ZADD', due, unpack(added)) end
  if earliest and earliest < now + RING_WITHIN_MS and (not head or earliest < tonumber(head)) then rung[bell] = true end
end

local function write_done()
  for stream, entries in pairs(done) do
    call('XACK', stream, 'executors', unpack(entries))
    call('XDEL', stream, unpack(entries))
  end
end

local function ring()
  for list in pairs(rung) do
    if call('LLEN', list) == 0 then call('RPUSH', list, '1') end
  end
end

local reply = {'OK', now_text, opened[2]}
for i = 4, tonumber(ARGV[4]) + 3 do
  local size = count()
  local start = at
  local outcome = refusal()
  if not outcome then
    local events = append()
    if not events then return {'CLOSED'} end -- the log is gone: only ever before the first write
    write_advances()
    write_due()
    write_work()
    answer_once(start + 1, positions[NUMBERS[events] or tostring(events)])
    outcome = pos + 1
    pos = pos + events
  end
  reply[i] = outcome
  at = start + size
end

if pos > pos_before then
  write_moved()
  write_done()
  ring()
  call('HSET', meta, 'pos', format('%.0f', pos), 'last_ms', now_text)
end
call('HSET', writer, 'seq', seq, 'reply', cmsgpack.pack(reply))
call('PEXPIRE', writer, writer_ttl)
return reply
