"""What the four services share. No module here imports a service, and none does work when imported.

From the ground up (import-linter keeps the order, see pyproject.toml):

- `domain` decides: pure functions and values, without clock, chance or I/O.
- `job_types` and `handlers` say what a job's data looks like, and what a handler may do.
- `settings`, `logs`, `metrics`, `clock` and `embedded` are what a process is started with; `environment` is what
  `settings` reads.
- `faults`, `loop`, `parent`, `serving` and `ops` are the parts of a process's life; `lifecycle` puts them
  together: one loop, signals, drain. `lease` shares partitions among the replicas of a service.
- `eventlog` keeps the facts in Redis, `readmodel` keeps the archive and the ledgers in Postgres.
- `recovery` compares the two and opens the log, `deployment` checks that they belong together; `testing` is for
  tests only.
"""
