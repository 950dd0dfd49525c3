#!lua flags=allow-oom
-- Give a lease back, if it is still mine: compared and deleted in one step, else a lease that expired in
-- between and was taken by another would be deleted under it.
--
-- KEYS[1]  string  the lease
-- ARGV[1]  string  who asks
-- Returns  1 released, 0 it was not ARGV[1]'s
-- Called by shared/lease.py, Lease.release
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
