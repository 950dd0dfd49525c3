-- Schema `ledger`: what queries read. A pure function of the archive: burnt and made again by `daybook replay`.
-- Ids are UUIDv8 that begin with their time, so `order by id desc` is newest first and `id < $cursor` is a keyset.

create schema ledger;

create table ledger.jobs (
    id uuid primary key,
    partition integer not null,
    owner text not null,
    tenant text not null,
    name text not null,
    description text not null,
    tags text[] not null,
    job_type text not null,
    queue text not null,
    priority integer not null,
    spec jsonb not null, -- the whole specification (shared.domain.spec.JobSpec)
    revision integer not null,
    -- As clients see it: deleted > paused > running > failed > completed > pending.
    status text not null,
    -- Of the write side: pending, paused, completed, deleted.
    state text not null,
    active_runs integer not null, -- runs without a terminal event
    next_run_time timestamptz, -- null when paused, or when there is none
    last_run_id uuid, -- the run that ended last
    last_run_status text,
    last_run_finished_at timestamptz,
    paused jsonb, -- {by, at, reason, until}
    created_at timestamptz not null,
    updated_at timestamptz not null,
    epoch bigint not null, -- position folded into the row: the ETag's second half
    pos bigint not null
);

create index jobs_listed on ledger.jobs (id desc) where status <> 'deleted';
create index jobs_by_status on ledger.jobs (status, id desc);
create index jobs_by_owner on ledger.jobs (owner, id desc) where status <> 'deleted';

-- `id_at` is the time in the id (shared.domain.ids.time_of): always give both to find a run, it names the month.
create table ledger.runs (
    id uuid not null,
    id_at timestamptz not null,
    partition integer not null,
    job_id uuid not null,
    job_name text not null,
    job_type text not null,
    status text not null, -- queued running retrying succeeded failed (held cancelled expired)
    trigger text not null, -- schedule manual backfill retry chain
    of text, -- the run or occurrence it repeats
    revision integer not null,
    queue text not null,
    priority integer not null,
    attempt integer not null,
    max_attempts integer not null,
    scheduled_for timestamptz not null,
    fires_at timestamptz not null,
    queued_at timestamptz, -- last time it entered a work stream
    started_at timestamptz, -- of the latest attempt
    finished_at timestamptz, -- of the run
    duration_ms bigint, -- finished_at - started_at
    lateness_ms bigint, -- first start - scheduled_for
    result jsonb,
    error jsonb, -- {class, message}
    worker text, -- of the latest attempt
    correlation_id text not null,
    attempts jsonb not null, -- [{attempt, worker, started_at, finished_at, outcome, error}], times as in the API
    epoch bigint not null,
    pos bigint not null,
    primary key (id, id_at)
) partition by range (id_at);

create table ledger.runs_default partition of ledger.runs default;

create index runs_by_job on ledger.runs (job_id, id desc);
create index runs_by_status on ledger.runs (status, id desc);

-- What happened in each hour (UTC), in the hour in which it happened. Integers, so that a rebuild in other batches
-- gives the same sums. No two partitions ever write one row; add them up when reading.
create table ledger.run_hourly (
    partition integer not null,
    hour timestamptz not null,
    job_type text not null,
    requested bigint not null,
    started bigint not null, -- attempts
    succeeded bigint not null,
    failed bigint not null,
    retried bigint not null,
    lost bigint not null,
    interrupted bigint not null,
    duration_ms_sum bigint not null, -- of runs that ended
    duration_ms_max bigint not null,
    first_starts bigint not null, -- runs whose lateness is in the next two
    lateness_ms_sum bigint not null,
    lateness_ms_max bigint not null,
    primary key (partition, hour, job_type)
);
