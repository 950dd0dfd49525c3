-- Backfills, and which of them has asked for a run.

create table ledger.backfills (
    id uuid primary key,
    partition integer not null,
    job_id uuid not null,
    status text not null, -- running completed cancelled
    which text not null, -- missing failed all
    since timestamptz not null, -- inclusive
    until timestamptz not null, -- exclusive
    total integer not null, -- occurrences found when it was requested
    requested integer not null, -- how many of them it has asked for a run for
    succeeded integer not null,
    failed integer not null, -- ended otherwise
    max_parallel integer not null,
    revision integer not null, -- of the job, that its runs are pinned to
    by text not null,
    reason text not null,
    created_at timestamptz not null,
    finished_at timestamptz, -- when it was completed or cancelled
    cancel jsonb, -- {by, at, reason}
    epoch bigint not null,
    pos bigint not null
);

create index backfills_of_job on ledger.backfills (job_id, id desc);

alter table ledger.runs add column backfill uuid;

create index runs_by_backfill on ledger.runs (tenant, backfill, id desc) where backfill is not null;
