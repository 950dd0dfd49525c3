#!lua flags=no-writes
-- take: what is due in one partition, with its snapshots; they stay where they are until a commit moves them.
--
-- Why a script: time, index and snapshots in one round trip, and the snapshots no older than the scores they are
-- decided under. It writes nothing, so a full Redis runs it.
--
-- KEYS  1 due
-- ARGV  1 what the key of an aggregate begins with, 2 how many at most, 3 after how many bytes of snapshots to stop
-- Returns {seconds, microseconds (TIME), score (ms) of the head or '', number of entries that are due,
--          {member, score (ms), its snapshot ('' if there is none)} of each one taken}. The keys of aggregates can't be
--          named beforehand; they carry the same hash tag
-- Called by services/timer/due.py.

local due, base, most, bytes_max = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local AT_ONCE = 50 -- snapshots of up to 256 KB: more would be read only to be left out
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local head = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
local reply = {time[1], time[2], head or '', 0}
if not head or tonumber(head) > now then return reply end

local now_text = string.format('%.0f', now)
local found = redis.call('ZRANGE', due, '-inf', now_text, 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
local bytes, first = 0, 1
while first < #found and bytes <= bytes_max do
  local keys = {}
  for i = first, math.min(first + 2 * AT_ONCE, #found) - 1, 2 do keys[#keys + 1] = base .. found[i] end
  local held = redis.call('MGET', unpack(keys))
  for i = 1, #keys do
    local at, snapshot = first + 2 * (i - 1), held[i] or ''
    reply[#reply + 1] = {found[at], found[at + 1], snapshot}
    bytes = bytes + #snapshot
    if bytes > bytes_max then break end
  end
  first = first + 2 * #keys
end
reply[4] = #found / 2
if reply[4] == most then reply[4] = redis.call('ZCOUNT', due, '-inf', now_text) end
return reply
