-- The rows of ledger.run_hourly of partition $1; columns named as the fields of hours.Hour.
-- Called by services/projector/audit/archive.py.
select
    partition, hour, job_type, requested, started, succeeded, failed, retried, lost, interrupted, duration_ms_sum,
    duration_ms_max, first_starts, lateness_ms_sum, lateness_ms_max, cancelled, expired
from ledger.run_hourly
where partition = $1
