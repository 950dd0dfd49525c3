-- Whole rows of ledger.runs, as arrays in the order of its columns; JSON as text. Rows come sorted by id. What a run's
-- request fixed is not written again.
insert into ledger.runs (
    id, id_at, partition, job_id, job_name, job_type, status, trigger, of, revision, queue, priority, attempt,
    max_attempts, scheduled_for, fires_at, queued_at, started_at, finished_at, duration_ms, lateness_ms, result, error,
    worker, correlation_id, attempts, epoch, pos, cancel, error_fingerprint, tenant, backfill, held
)
select
    id, id_at, partition, job_id, job_name, job_type, status, trigger, of, revision, queue, priority, attempt,
    max_attempts, scheduled_for, fires_at, queued_at, started_at, finished_at, duration_ms, lateness_ms, result::jsonb,
    error::jsonb, worker, correlation_id, attempts::jsonb, epoch, pos, cancel::jsonb, error_fingerprint, tenant, backfill,
    held::jsonb
from unnest(
    $1::uuid[], $2::timestamptz[], $3::integer[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::integer[], $11::text[], $12::integer[], $13::integer[], $14::integer[], $15::timestamptz[],
    $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::timestamptz[], $20::bigint[], $21::bigint[],
    $22::text[], $23::text[], $24::text[], $25::text[], $26::text[], $27::bigint[], $28::bigint[],
    $29::text[], $30::text[], $31::text[], $32::uuid[], $33::text[]
) as rows (
    id, id_at, partition, job_id, job_name, job_type, status, trigger, of, revision, queue, priority, attempt,
    max_attempts, scheduled_for, fires_at, queued_at, started_at, finished_at, duration_ms, lateness_ms, result, error,
    worker, correlation_id, attempts, epoch, pos, cancel, error_fingerprint, tenant, backfill, held
)
on conflict (id, id_at) do update set
    status = excluded.status,
    queue = excluded.queue,
    priority = excluded.priority,
    attempt = excluded.attempt,
    queued_at = excluded.queued_at,
    started_at = excluded.started_at,
    finished_at = excluded.finished_at,
    duration_ms = excluded.duration_ms,
    lateness_ms = excluded.lateness_ms,
    result = excluded.result,
    error = excluded.error,
    worker = excluded.worker,
    attempts = excluded.attempts,
    epoch = excluded.epoch,
    pos = excluded.pos,
    cancel = excluded.cancel,
    error_fingerprint = excluded.error_fingerprint,
    held = excluded.held
