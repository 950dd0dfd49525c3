-- The rows of these runs ($1: ids, $2: the times in them, which name the month). run_rows.loaded reads the columns.
select
    runs.id, runs.id_at, runs.partition, runs.job_id, runs.job_name, runs.job_type, runs.status, runs.trigger, runs.of,
    runs.revision, runs.queue, runs.priority, runs.attempt, runs.max_attempts, runs.scheduled_for, runs.fires_at,
    runs.queued_at, runs.started_at, runs.finished_at, runs.duration_ms, runs.lateness_ms, runs.result, runs.error,
    runs.worker, runs.correlation_id, runs.attempts, runs.epoch, runs.pos,
    runs.cancel, runs.error_fingerprint, runs.tenant, runs.backfill,
    runs.held
from unnest($1::uuid[], $2::timestamptz[]) as wanted (id, id_at)
join ledger.runs on runs.id = wanted.id and runs.id_at = wanted.id_at
