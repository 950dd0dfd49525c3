#!lua flags=allow-oom
-- beat: tells which of a worker's runs are no longer its own, and extends the leases of the others.
--
-- Why one script: a lease must not be extended after the run was given to another worker, not by a moment.
-- A run is still ours if its fence is and it is running. Nothing but the start has happened to most (version =
-- fence); of the others the state is read.
--
-- A log that isn't open may have been wiped, and its runs be on their way back from the archive: then nobody can
-- tell, and none is told.
--
-- KEYS  1 due, 2… hashes of runs, the last one meta
-- ARGV  1 ms that a lease lasts from now, or '0' to extend none, 2… run id and fence for each run
-- Returns the numbers (from 1) of the runs that are not ours any more
-- Called by services/executor/heartbeat.py, from a thread of its own.

local due, lease_ms = KEYS[1], tonumber(ARGV[1])
local time = redis.call('TIME')
local until_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms)
local moved = {}

local function is_ours(run, fence)
  local held = redis.call('HMGET', run, 'fence', 'version')
  if held[1] ~= fence then return false end
  if held[2] == fence then return true end
  return cjson.decode(redis.call('HGET', run, 'state')).status == 'running'
end

for i = 1, #KEYS - 2 do
  if not is_ours(KEYS[i + 1], ARGV[2 * i + 1]) then
    moved[#moved + 1] = i
  elseif lease_ms > 0 then
    redis.call('ZADD', due, 'XX', 'GT', until_ms, 'run:' .. ARGV[2 * i])
  end
end
if moved[1] then
  local incarnation = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  if redis.call('HGET', KEYS[#KEYS], 'incarnation') ~= incarnation then return {} end
end
return moved
