#!lua flags=allow-oom
-- Take a lease or renew it: "nobody's or mine" must be asked and answered in one step, else two replicas
-- could each see it free and both set it. allow-oom: a full Redis is emptied by the services that hold
-- leases.
--
-- KEYS[1]  string  the lease
-- ARGV[1]  string  who asks; unique to a process
-- ARGV[2]  integer ms it is to last from now
-- Returns  1 held by ARGV[1] until now + ARGV[2], 0 held by somebody else
-- Called by shared/lease.py, Lease.hold
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
