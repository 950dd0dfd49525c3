#!lua flags=allow-oom
-- claim: takes runs from the work streams of a partition, highest priority first, and rings for what it leaves.
--
-- Why one script: the bell that woke this executor would otherwise not wake another for the rest; and a stream
-- whose group nobody has made yet is made and read in one go. Under memory pressure it must work: runs that
-- can't be started never end.
--
-- KEYS  the bell of each queue, then the work streams by falling priority, of each priority one for each queue
-- ARGV  1 the consumer group, 2 this consumer, 3 what the key of an aggregate begins with, 4 number of queues, 5 how
--       many to take at most in all, 6… how many at most of each work stream
-- Returns {index of the work stream, counted from 1 without the bells, entry id, run id, version, state, spec, fence [,
--       job id, version, state, spec]} for each run taken: its snapshot saves the start a round trip, and that of the job
--       which follows it, if one does, the finish ('' for what isn't there). The keys of runs can't be named beforehand;
--       they carry the same hash tag as all others
-- Called by services/executor/claims.py.

local group, consumer, base, queues, room = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local taken, left = {}, {}

local function read(stream, count)
  return redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', stream, '>')
end

local function take(at, stream, count)
  local reply = read(stream, count)
  if reply and reply.err then
    if not string.find(reply.err, 'NOGROUP', 1, true) then return reply end
    redis.call('XGROUP', 'CREATE', stream, group, '0')
    reply = read(stream, count)
  end
  if not reply then return nil end
  if reply.err then return reply end
  for _, entry in ipairs(reply[1][2]) do
    local run, job = entry[2][2], entry[2][4]
    local held = redis.call('HMGET', base .. 'run:' .. run, 'version', 'state', 'spec', 'fence')
    local row = {at, entry[1], run, held[1] or '', held[2] or '', held[3] or '', held[4] or ''}
    if job then
      local follower = redis.call('HMGET', base .. 'job:' .. job, 'version', 'state', 'spec')
      row[8], row[9], row[10], row[11] = job, follower[1] or '', follower[2] or '', follower[3] or ''
    end
    taken[#taken + 1] = row
  end
end

for at = 1, #KEYS - queues do
  local stream = KEYS[queues + at]
  local length = redis.call('XLEN', stream)
  if length > 0 then
    local count = math.min(room - #taken, tonumber(ARGV[5 + at]))
    if count > 0 then
      local failure = take(at, stream, count)
      if failure then return failure end
    end
    local pending = redis.pcall('XPENDING', stream, group) -- an error: nobody has made the group yet
    if pending.err or length > pending[1] then left[(at - 1) % queues + 1] = true end
  end
end

for queue in pairs(left) do
  if redis.call('LLEN', KEYS[queue]) == 0 then redis.call('RPUSH', KEYS[queue], '1') end
end
return taken
