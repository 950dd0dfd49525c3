#!lua flags=no-writes
-- take: what is due in one partition, with its snapshots; they stay where they are until a commit moves them.
--
-- Why a script: time, index and snapshots in one round trip, and the snapshots no older than the scores they are
-- decided under. It writes nothing, so a full Redis runs it.
--
-- KEYS  1 due
-- ARGV  1 what the key of an aggregate begins with, 2 how many at most, 3 after how many bytes of snapshots to stop
-- Returns {seconds, microseconds (TIME), score (ms) of the head or '', number of entries that are due,
--          {member, score (ms), version, state, spec, fence} of each one taken ('' for what isn't there)}. The keys
--          of aggregates can't be named beforehand; they carry the same hash tag
-- Called by services/timer/due.py.

local due, base, most, bytes_max = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local head = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
local reply = {time[1], time[2], head or '', 0}
if not head or tonumber(head) > now then return reply end

local now_text = string.format('%.0f', now)
local found = redis.call('ZRANGE', due, '-inf', now_text, 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
local bytes = 0
for i = 1, #found, 2 do
  local held = redis.call('HMGET', base .. found[i], 'version', 'state', 'spec', 'fence')
  reply[#reply + 1] = {found[i], found[i + 1], held[1] or '', held[2] or '', held[3] or '', held[4] or ''}
  bytes = bytes + #(held[2] or '') + #(held[3] or '')
  if bytes > bytes_max then break end
end
reply[4] = #found / 2
if reply[4] == most then reply[4] = redis.call('ZCOUNT', due, '-inf', now_text) end
return reply
