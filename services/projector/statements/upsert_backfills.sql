-- Rows of ledger.backfills, as arrays in the order of its columns. What a batch hasn't heard of a backfill is null, and
-- stays as it is: one with its progress only knows neither its beginning nor its end.
insert into ledger.backfills (
    id, partition, job_id, status, which, since, until, total, requested, succeeded, failed, max_parallel, revision, by,
    reason, created_at, finished_at, cancel, epoch, pos
)
select
    rows.id, rows.partition, rows.job_id, coalesce(rows.status, known.status), coalesce(rows.which, known.which),
    coalesce(rows.since, known.since), coalesce(rows.until, known.until), coalesce(rows.total, known.total),
    coalesce(rows.requested, known.requested), coalesce(rows.succeeded, known.succeeded),
    coalesce(rows.failed, known.failed), coalesce(rows.max_parallel, known.max_parallel),
    coalesce(rows.revision, known.revision), coalesce(rows.by, known.by), coalesce(rows.reason, known.reason),
    coalesce(rows.created_at, known.created_at), coalesce(rows.finished_at, known.finished_at),
    coalesce(rows.cancel::jsonb, known.cancel), rows.epoch, rows.pos
from unnest(
    $1::uuid[], $2::integer[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::integer[],
    $9::integer[], $10::integer[], $11::integer[], $12::integer[], $13::integer[], $14::text[], $15::text[],
    $16::timestamptz[], $17::timestamptz[], $18::text[], $19::bigint[], $20::bigint[]
) as rows (
    id, partition, job_id, status, which, since, until, total, requested, succeeded, failed, max_parallel, revision, by,
    reason, created_at, finished_at, cancel, epoch, pos
)
left join ledger.backfills as known on known.id = rows.id
on conflict (id) do update set
    status = excluded.status,
    requested = excluded.requested,
    succeeded = excluded.succeeded,
    failed = excluded.failed,
    finished_at = excluded.finished_at,
    cancel = excluded.cancel,
    epoch = excluded.epoch,
    pos = excluded.pos
