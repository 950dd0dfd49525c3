"""The executor: takes runs from the work streams, calls their handlers, and writes down what came of it.

Reads  the work streams and doorbells of the queues it serves, in all partitions; snapshots of runs.
Writes RunStarted, RunSucceeded, RunRetryPlanned, RunFailed, RunInterrupted (through `commit`); leases of its
       running runs in the due index (`beat.lua`); nothing in Postgres.
If I die, then entries that I had claimed but not started are adopted by another executor after ADOPT_IDLE_MS;
       runs in their handler lose their lease after `lease_seconds`, and a timer queues them again (RunLost).
       The handler starts a second time, with a greater fence; results from the first start are refused.

The way of a run: `claims` (which, in what order) → `attempt` (start, call, judge, record) with `plugins` (who
does it), `pool` (blocking handlers in processes that can be killed), `outcome` (what returning and raising
mean) and `tally` (metrics and log lines); `bells` wakes the idle, `heartbeat` keeps the lease, and `service`
counts the slots and drains.
"""
