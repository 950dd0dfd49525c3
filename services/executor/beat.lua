#!lua flags=allow-oom
-- beat: tells which of a worker's runs are no longer its own, or are to be cancelled; extends the leases of those that
-- are, and shows how far they are.
--
-- Why one script: a lease must not be extended, nor progress shown, after the run was given to another worker, not by a
-- moment. A run is still ours if its fence is and it is running. Nothing but the start has happened to most (version =
-- fence); of the others the state is read. Progress is no fact for the log: it stands in the run's hash with the fence
-- of the start that it is about, and goes with it.
--
-- A log that isn't open may have been wiped, and its runs be on their way back from the archive: then nobody can
-- tell, and none is told.
--
-- KEYS  1 due, 2… hashes of runs, the last one meta
-- ARGV  1 ms that a lease lasts from now, or '0' to extend none, 2… run id, fence and progress (JSON, '' = nothing new)
--       for each run
-- Returns {numbers (from 1) of the runs that are not ours any more, numbers of those that are to be cancelled}
-- Called by services/executor/heartbeat.py, from a thread of its own.

local due, lease_ms = KEYS[1], tonumber(ARGV[1])
local time = redis.call('TIME')
local until_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms)
local moved, cancelled = {}, {}

-- Returns whether the run is ours, and whether somebody wants it ended.
local function standing(run, fence)
  local held = redis.call('HMGET', run, 'fence', 'version')
  if held[1] ~= fence then return false, false end
  if held[2] == fence then return true, false end
  local state = cjson.decode(redis.call('HGET', run, 'state'))
  return state.status == 'running', state.cancel ~= nil and state.cancel ~= cjson.null
end

for i = 1, #KEYS - 2 do
  local run, id, fence, progress = KEYS[i + 1], ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local ours, cancel = standing(run, fence)
  if not ours then
    moved[#moved + 1] = i
  else
    if cancel then cancelled[#cancelled + 1] = i end
    if progress ~= '' then redis.call('HSET', run, 'progress', fence .. ' ' .. progress) end
    if lease_ms > 0 then redis.call('ZADD', due, 'XX', 'GT', until_ms, 'run:' .. id) end
  end
end
if moved[1] or cancelled[1] then
  local incarnation = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  if redis.call('HGET', KEYS[#KEYS], 'incarnation') ~= incarnation then return {{}, {}} end
end
return {moved, cancelled}
