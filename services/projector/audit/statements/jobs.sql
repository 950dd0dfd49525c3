-- The rows of ledger.jobs of partition $1; ledgers.JOB_COLUMNS has the columns.
-- Called by services/projector/audit/archive.py.
select
    id, partition, owner, tenant, name, description, tags, job_type, queue, priority, spec, revision, status, state,
    active_runs, next_run_time, last_run_id, last_run_status, last_run_finished_at, paused, skipped, created_at,
    updated_at, epoch, pos
from ledger.jobs
where partition = $1
