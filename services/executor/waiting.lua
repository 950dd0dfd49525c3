#!lua flags=no-writes
-- waiting: how many runs wait in each work stream of a partition, claimed ones not counted.
--
-- Why a script: what waits is length less pending, and both belong to one moment. An entry that another consumer
-- has claimed and not started is not waiting: counted in, those of a dead executor would take up the slots of
-- all lower priorities until they are adopted.
--
-- KEYS  work streams
-- ARGV  1 the consumer group
-- Returns one number for each key
-- Called by services/executor/claims.py, before each claim and for the metric queue_depth.

local waiting = {}
for i, stream in ipairs(KEYS) do
  local length = redis.call('XLEN', stream)
  if length > 0 then
    local pending = redis.pcall('XPENDING', stream, ARGV[1]) -- an error: nobody has made the group yet
    if not pending.err then length = length - pending[1] end
  end
  waiting[i] = length
end
return waiting
