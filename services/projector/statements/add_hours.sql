-- Adds what a batch has counted to ledger.run_hourly; arrays in the order of its columns, rows sorted by key.
insert into ledger.run_hourly as kept (
    partition, hour, job_type, requested, started, succeeded, failed, retried, lost, interrupted, duration_ms_sum,
    duration_ms_max, first_starts, lateness_ms_sum, lateness_ms_max, cancelled, expired
)
select * from unnest(
    $1::integer[], $2::timestamptz[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
    $16::bigint[], $17::bigint[]
)
on conflict (partition, hour, job_type) do update set
    requested = kept.requested + excluded.requested,
    started = kept.started + excluded.started,
    succeeded = kept.succeeded + excluded.succeeded,
    failed = kept.failed + excluded.failed,
    retried = kept.retried + excluded.retried,
    lost = kept.lost + excluded.lost,
    interrupted = kept.interrupted + excluded.interrupted,
    duration_ms_sum = kept.duration_ms_sum + excluded.duration_ms_sum,
    duration_ms_max = greatest(kept.duration_ms_max, excluded.duration_ms_max),
    first_starts = kept.first_starts + excluded.first_starts,
    lateness_ms_sum = kept.lateness_ms_sum + excluded.lateness_ms_sum,
    lateness_ms_max = greatest(kept.lateness_ms_max, excluded.lateness_ms_max),
    cancelled = kept.cancelled + excluded.cancelled,
    expired = kept.expired + excluded.expired
