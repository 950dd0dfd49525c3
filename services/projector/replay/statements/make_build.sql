-- What a replay keeps of itself beside the tables that it builds. Called by services/projector/replay/build.py.
create schema replay;

create table replay.build (
    one boolean primary key default true check (one),
    made_by text not null, -- hash of the program
    cold text not null, -- the copies that it reads beside the archive
    migrated bigint not null, -- migrations that the live schema had had
    retained text not null, -- what retention had dropped by then
    phase text not null default 'reading',
    began_at timestamptz not null default now()
);

-- Moved by whoever writes a partition's rows, in the same transaction.
create table replay.partitions (
    partition integer primary key,
    begins bigint not null, -- the events after this pos are read
    epoch bigint not null,
    pos bigint not null, -- of the last event whose rows are written
    upto bigint not null -- of the last that workers read
);

create table replay.snapshots (like book.snapshots including all);
create table replay.waypoints (like book.waypoints including all);
create table replay.projection_errors (like book.projection_errors including all);

-- Jobs, until all are known; the triggers see each of them once.
create table replay.jobs (like ledger.jobs including defaults including generated, primary key (id));

-- Runs whose beginning was dropped: their rows are carried over as the live ledger has them where the replay began.
create table replay.runs_carried (id uuid primary key);
-- Hours of which something was dropped, or of such runs: carried over likewise.
create table replay.hours_carried (partition integer, hour timestamptz, primary key (partition, hour));

create view replay.runs_known as
select runs.*
from ledger_next.runs
where not exists (select from replay.runs_carried where runs_carried.id = runs.id);
