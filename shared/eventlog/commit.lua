-- commit: the only door. Applies a batch of units to one partition, each unit whole or not at all.
--
-- Why one script: the log entry, the snapshots, the due index, the work streams and the answer to a repeated
-- request must never be seen, or survive a crash, one without the other. Redis does not roll a script back, so
-- each unit is checked in full before its first write. Loaded twice, under two first lines: `#!lua` for units
-- that add work, `#!lua flags=allow-oom` for those that end it (a full queue must be able to drain).
--
-- What units do to the due index, the entries of work streams that they have done with, and bells are written once for
-- the batch: a call costs more than what it does. What costs most are the strings that Lua makes of all it touches, and
-- throws away: so units are unpacked one by one, and a specification, half of a snapshot, is sent only where it is new.
--
-- KEYS  1 meta, 2 log, 3 due, 4 writer, 5 bell:timer, 6 one that is never there, for which a Cluster doesn't run the
--       script while it moves the partition. The others are named by the units: what they begin with, hash tag included,
--       is an argument.
-- ARGV  1 seq, 2 writer's ttl (ms), 3 base of all keys, 4… a unit each, as MessagePack:
--       [once, woken, advances, events, due, enqueue, done]
--         once      [digest of a key, fingerprint, answer, ttl (ms)] each; the first that has had an answer is told
--         woken     [member of due, score (ms, as text) it had when it was read] each
--         advances  [ref of an aggregate, expected version ('' = its key must not be there), number (1…) of the event
--                   that is its version now, of the one that is its fence (0 = as it is), JSON of its state, of its spec
--                   ('' = as it is), ms to live (nil = as it is, 0 = for ever)] each
--         events    [id, type, v, subject, job, advances, actor, cause, corr, trace, data] each
--         due       [member, score (ms, as text; '' = take it out)] each
--         enqueue   [queue, priority, run id, number of the event that queued it, id of the job that follows it ('' =
--                   none)] each
--         done      [queue, priority, entry id] each
--       All times in Unix ms. Scores and positions stay text: a Lua number is a float.
-- Returns {'OK', now_ms, epoch, outcome of each unit…}:
--           pos of its first event                it is written
--           {'conflict', ref, its version, its state, its spec, its fence}    ('' where there is none)
--           {'early', member}                     the due entry has moved, or its time has not come
--           {'once', digest, fingerprint, answer, position}     this key has had its answer
--         or {'CLOSED'}: the server is not the incarnation that was opened; call open_log
--         or {'STALE', last seq}: a batch older than the writer's last
-- Called by shared/eventlog/writer.py.

local call, tonumber, format, unpack = redis.call, tonumber, string.format, unpack
local meta, log, due, writer, bell = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local RING_WITHIN_MS = 2000 -- twice a timer's longest sleep: what is due later, it sees by itself in time
local seq, writer_ttl, base = ARGV[1], ARGV[2], ARGV[3]

local opened = call('HMGET', meta, 'incarnation', 'epoch', 'pos', 'last_ms')
local incarnation = string.match(call('INFO', 'replication'), 'master_replid:(%x+)')
if not opened[1] or opened[1] ~= incarnation then
  return {'CLOSED'}
end

local last_seq, last_reply = string.match(call('GET', writer) or '', '^(%d+) (.*)$')
if last_seq == seq then
  return cmsgpack.unpack(last_reply)
elseif last_seq and tonumber(last_seq) > tonumber(seq) then
  return {'STALE', last_seq}
end

local time = call('TIME')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(opened[4]))
local now_text = format('%.0f', now)
local epoch, pos, pos_before = opened[2] .. '-', tonumber(opened[3]), tonumber(opened[3])

-- For the end of the batch: scores that members of due have from now on ('' = none), entries done with by work stream,
-- bells to be rung.
local moved, done, rung = {}, {}, {}

local function refusal(once, woken, advances)
  for i = 1, #once do
    local had = call('HMGET', base .. 'once:' .. once[i][1], 'fingerprint', 'answer', 'position')
    if had[1] then return {'once', once[i][1], had[1], had[2], had[3]} end
  end
  for i = 1, #woken do
    local member, expected = woken[i][1], woken[i][2]
    local score = tonumber(moved[member] or call('ZSCORE', due, member) or nil)
    if score ~= tonumber(expected) or score > now then return {'early', member} end
  end
  for i = 1, #advances do
    local ref, expected = advances[i][1], advances[i][2]
    local version = call('HGET', base .. ref, 'version') or ''
    if version ~= expected then
      local held = call('HMGET', base .. ref, 'state', 'spec', 'fence')
      return {'conflict', ref, version, held[1] or '', held[2] or '', held[3] or ''}
    end
  end
end

local function append(events)
  local positions = {}
  for i = 1, #events do
    local event, id = events[i], epoch .. format('%.0f', pos + i)
    local added = call('XADD', log, 'NOMKSTREAM', id,
      'id', event[1], 'type', event[2], 'v', event[3], 'subject', event[4], 'job', event[5], 'advances', event[6],
      'at', now_text, 'actor', event[7], 'cause', event[8], 'corr', event[9], 'trace', event[10], 'data', event[11])
    if not added then return nil end
    positions[i] = id
  end
  return positions
end

local function write_advances(advances, positions)
  for i = 1, #advances do
    local advance = advances[i]
    local aggregate, version, fence = base .. advance[1], positions[advance[3]], positions[advance[4]]
    local state, spec, live = advance[5], advance[6], advance[7]
    if spec ~= '' then
      call('HSET', aggregate, 'version', version, 'state', state, 'spec', spec)
      if fence then call('HSET', aggregate, 'fence', fence) end
    elseif fence then
      call('HSET', aggregate, 'version', version, 'state', state, 'fence', fence)
    else
      call('HSET', aggregate, 'version', version, 'state', state)
    end
    if live == 0 then
      call('PERSIST', aggregate)
    elseif live then
      call('PEXPIRE', aggregate, live)
    end
  end
end

local function work(queue, priority)
  return base .. 'work:' .. queue .. ':' .. priority
end

local function write_work(entries, positions)
  for i = 1, #entries do
    local queue, priority, run, number, job = unpack(entries[i])
    if job == '' then
      call('XADD', work(queue, priority), positions[number], 'run', run)
    else
      call('XADD', work(queue, priority), positions[number], 'run', run, 'job', job)
    end
    rung[base .. 'bell:' .. queue] = true
  end
end

local function note(dues, entries)
  for i = 1, #dues do
    moved[dues[i][1]] = dues[i][2]
  end
  for i = 1, #entries do
    local stream = work(entries[i][1], entries[i][2])
    local ended = done[stream] or {}
    ended[#ended + 1] = entries[i][3]
    done[stream] = ended
  end
end

local function answer(once, position)
  local key = base .. 'once:' .. once[1]
  call('HSET', key, 'fingerprint', once[2], 'answer', once[3], 'position', position)
  call('PEXPIRE', key, once[4])
end

-- Returns nil if the log is gone: only ever before the first write.
local function apply(unit)
  local once, advances = unit[1], unit[3]
  local refused = refusal(once, unit[2], advances)
  if refused then return refused end
  local positions = append(unit[4])
  if not positions then return nil end
  write_advances(advances, positions)
  write_work(unit[6], positions)
  note(unit[5], unit[7])
  for i = 1, #once do
    answer(once[i], positions[#positions])
  end
  pos = pos + #positions
  return pos - #positions + 1
end

local function write_due()
  local head = call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
  local added, removed, earliest = {}, {}, nil
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
for i = 4, #ARGV do
  local outcome = apply(cmsgpack.unpack(ARGV[i]))
  if not outcome then return {'CLOSED'} end
  reply[i] = outcome
end

if pos > pos_before then
  write_due()
  write_done()
  ring()
  call('HSET', meta, 'pos', format('%.0f', pos), 'last_ms', now_text)
end
call('SET', writer, seq .. ' ' .. cmsgpack.pack(reply), 'PX', writer_ttl)
return reply
