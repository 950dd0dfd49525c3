"""The projector: log in, Postgres rows out.

Reads the log of the partitions it owns, from the checkpoint in Postgres. Writes, in one transaction a
batch, the archive and its hash chain, the jobs' snapshots and waypoints, the ledgers `jobs`, `runs` and
`run_hourly`, and the checkpoint; then publishes the watermark and trims what is archived from the log.

If I die, another replica goes on from the checkpoint: whatever was not committed is read and written again,
and what was is not. If two serve one partition, the checkpoint lets one of them through. If the log was
rewound or reopened, the fence beside it lets neither through until both have looked.
"""
