-- Retention (cleanup_task, `archive` and `run_history`): what is told of months that were dropped, and what is brought
-- forward from them, so that everything that is still there can be recovered, audited and rebuilt without them.
--   archive_cuts     where the archive of each partition begins now: at which event, with which link of the hash chain
--   brought_forward  every aggregate as it stood there; recovery and audit fold the events that follow onto it
--   kept_events      events of dropped months that are still asked for one by one
--   cold_copies      what backups of the archive hold: `require_cold_copy` asks here
--   run_cuts         which rows of ledger.runs may be missing, though the archive tells of the runs

-- A row for each cut of each partition; that with the highest pos counts.
create table book.archive_cuts (
    partition integer not null,
    epoch bigint not null,
    pos bigint not null, -- of the last event that was dropped: the archive begins after it
    id text not null, -- of that event
    at timestamptz not null, -- of that event
    chain bytea not null, -- of that event: the chain goes on from here
    events bigint not null, -- how many this cut took
    month text not null, -- the table that was dropped
    run_id text not null, -- the execution that did it, and its job
    job_id text not null,
    cut_at timestamptz not null default now(),
    primary key (partition, pos)
);

-- The state of an aggregate after the last event of it that was dropped: all jobs and API keys, and the runs that had
-- not ended by then. Written in the transaction that drops the events.
create table book.brought_forward (
    ref text primary key, -- job:<id>, run:<id>, apikey:<hash>
    partition integer not null,
    epoch bigint not null,
    pos bigint not null, -- of the last event that advanced it: its version
    shape integer not null,
    state text not null,
    fence text not null, -- of a run: position of its latest start, '' before that
    start_id text not null, -- of a run: id of that event
    active_runs integer not null, -- of a job: runs without a terminal event
    last_run_id uuid, -- of a job: the run that had ended last
    last_run_status text,
    last_run_finished_at timestamptz,
    told_epoch bigint not null, -- of a job: position of the last event of it or one of its runs
    told_pos bigint not null
);

create index brought_forward_of on book.brought_forward (partition, ref);

-- What made the revisions of jobs, and the requests of runs that may be retried.
create table book.kept_events (
    partition integer not null,
    epoch bigint not null,
    pos bigint not null,
    id text not null,
    type text not null,
    v integer not null,
    subject text not null,
    job text not null,
    advances text not null,
    at timestamptz not null,
    actor text not null,
    cause text not null,
    corr text not null,
    trace text not null,
    data text not null,
    primary key (partition, pos)
);

create index kept_events_subject on book.kept_events (subject, pos);

create view book.events_and_kept as
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data from book.events
union all
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.kept_events;

-- A range of a partition that a cold copy holds. Whoever writes a copy enters it here once it was read back and its
-- events were found to be linked; whoever deletes a copy deletes the row first.
create table book.cold_copies (
    place text not null, -- the URL of the manifest
    partition integer not null,
    first_epoch bigint not null,
    first_pos bigint not null,
    last_epoch bigint not null,
    last_pos bigint not null,
    events bigint not null,
    chain bytea not null, -- of the last event
    sha256 text not null, -- of the segment, hex
    run_id text not null,
    verified_at timestamptz not null default now(),
    primary key (place, partition, first_pos)
);

create index cold_copies_of on book.cold_copies (partition, first_pos);

-- Rows of ended runs were deleted: those of one of `statuses` that finished before a time may be missing.
create table book.run_cuts (
    run_id text primary key, -- the execution that did it, and its job
    job_id text not null,
    finished_before timestamptz not null,
    statuses text[] not null,
    cut_at timestamptz not null default now()
);
