#!lua flags=allow-oom
-- leave: hands back what a consumer has claimed and not started, and deletes consumers that hold nothing.
--
-- Why one script: deleting a consumer drops its pending entries for good, so that they must be looked for in the
-- same moment. XCLAIM to oneself with a long idle time lets the next `adopt` have them at once.
--
-- KEYS  work streams
-- ARGV  1 the consumer group, 2 this consumer, 3 ms after which other consumers without entries are deleted too
--       (an executor that is killed leaves its name behind)
-- Returns how many entries were handed back
-- Called by services/executor/claims.py, last of all.

local group, consumer, forgotten = ARGV[1], ARGV[2], tonumber(ARGV[3])
local LONG_MS = '3600000'
local returned = 0

for _, stream in ipairs(KEYS) do
  local pending = redis.pcall('XPENDING', stream, group, '-', '+', '10000', consumer)
  if not pending.err then
    for _, entry in ipairs(pending) do
      redis.call('XCLAIM', stream, group, consumer, '0', entry[1], 'IDLE', LONG_MS, 'JUSTID')
      returned = returned + 1
    end
    for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
      local facts = {}
      for i = 1, #row, 2 do facts[row[i]] = row[i + 1] end
      if facts.pending == 0 and (facts.name == consumer or facts.idle > forgotten) then
        redis.call('XGROUP', 'DELCONSUMER', stream, group, facts.name)
      end
    end
  end
end
return returned
