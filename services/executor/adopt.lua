#!lua flags=allow-oom
-- adopt: takes over runs that another consumer claimed and never started, because it died or handed them back.
--
-- Why one script: a round looks at all work streams of a partition, and must not take more than there are slots.
--
-- KEYS  work streams, highest priority first
-- ARGV  1 the consumer group, 2 this consumer, 3 what the key of a run begins with, 4 ms that an entry must have
--       been left alone, 5 how many at most, 6… a cursor for each stream, as the last round returned it
--       ('0-0' at first): without it a long list of pending entries would be read from its head each time
-- Returns {cursors, {index of the work stream from 1, entry id, run id, version, state, spec, fence} for each run
--       taken}, as `claim` does
-- Called by services/executor/claims.py, every few seconds.

local group, consumer, runs, idle, free = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local cursors, taken = {}, {}

for i, stream in ipairs(KEYS) do
  cursors[i] = ARGV[5 + i]
  if free > 0 and redis.call('XLEN', stream) > 0 then
    local reply = redis.pcall('XAUTOCLAIM', stream, group, consumer, idle, cursors[i], 'COUNT', free)
    if not reply.err then -- an error: nobody has made the group yet, so nothing is pending
      cursors[i] = reply[1]
      for _, entry in ipairs(reply[2]) do
        local held = redis.call('HMGET', runs .. entry[2][2], 'version', 'state', 'spec', 'fence')
        taken[#taken + 1] = {i, entry[1], entry[2][2], held[1] or '', held[2] or '', held[3] or '', held[4] or ''}
        free = free - 1
      end
    end
  end
end
return {cursors, taken}
