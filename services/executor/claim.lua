#!lua flags=allow-oom
-- claim: takes a given number of runs from each work stream of a partition, and rings for what it leaves.
--
-- Why one script: the bell that woke this executor would otherwise not wake another for the rest; and a stream
-- whose group nobody has made yet is made and read in one go. Under memory pressure it must work: runs that
-- can't be started never end.
--
-- KEYS  for each queue: its bell, then its work streams (ARGV 4 of them)
-- ARGV  1 the consumer group, 2 this consumer, 3 what the key of a run begins with, 4 work streams a queue, 5… for
--       each work stream in order: how many to take
-- Returns {index of the work stream, counted from 1 without the bells, entry id, run id, version, state, fence} for
--       each run taken: its snapshot saves the start a round trip ('' for what isn't there). The keys of runs can't
--       be named beforehand; they carry the same hash tag as all others
-- Called by services/executor/claims.py.

local group, consumer, runs, width = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local taken = {}
local stream_at, count_at = 0, 5

local function read(stream, count)
  return redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', stream, '>')
end

local function take(stream, count)
  local reply = read(stream, count)
  if reply and reply.err then
    if not string.find(reply.err, 'NOGROUP', 1, true) then return reply end
    if redis.call('EXISTS', stream) == 0 then return nil end
    redis.call('XGROUP', 'CREATE', stream, group, '0')
    reply = read(stream, count)
  end
  if not reply then return nil end
  if reply.err then return reply end
  for _, entry in ipairs(reply[1][2]) do
    local held = redis.call('HMGET', runs .. entry[2][2], 'version', 'state', 'fence')
    taken[#taken + 1] = {stream_at, entry[1], entry[2][2], held[1] or '', held[2] or '', held[3] or ''}
  end
end

local function leaves(stream)
  local length = redis.call('XLEN', stream)
  if length == 0 then return false end
  local pending = redis.pcall('XPENDING', stream, group)
  return pending.err ~= nil or length > pending[1]
end

for bell = 1, #KEYS, width + 1 do
  local left = false
  for i = bell + 1, bell + width do
    stream_at = stream_at + 1
    if ARGV[count_at] ~= '0' then
      local failure = take(KEYS[i], ARGV[count_at])
      if failure then return failure end
    end
    left = left or leaves(KEYS[i])
    count_at = count_at + 1
  end
  if left and redis.call('LLEN', KEYS[bell]) == 0 then redis.call('RPUSH', KEYS[bell], '1') end
end
return taken
