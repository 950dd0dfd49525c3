-- Schema `book`: what is written once and never swapped. The archive, how far it has come, and what stands beside it.
-- Times are aware and in whole milliseconds. Migrations are applied in order and never edited (see database.py); the
-- schema itself stands in ../applied.sql.

-- The archive: every event of every log, to the byte. `pos` grows by 1 in a partition across epochs, so
-- (partition, pos) names an event; `at` is in the key because a partitioned table's key must hold its range.
create table book.events (
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
    chain bytea not null, -- SHA-256 over the event before and all fields of this one: chain.py
    -- The job whose story it belongs to, its own events and those of its runs; null for events of no job.
    about text generated always as (
        case when subject like 'job/%' then substr(subject, 5) when job <> '' then job end
    ) stored,
    primary key (partition, pos, at)
) partition by range (at);

create table book.events_default partition of book.events default;

-- GET /jobs/{id}/events, newest first; a job and its runs live in one partition, so `pos` is their order.
create index events_about on book.events (about, pos desc) where about is not null;
-- The events of one aggregate, in order: its fold.
create index events_subject on book.events (subject, pos);

-- How far each partition is archived. A projector's first statement moves its row by compare-and-set on
-- (fence, epoch, pos); open_log raises `fence` to a new epoch, and whoever holds the old one is refused.
create table book.checkpoints (
    partition integer primary key,
    epoch bigint not null,
    pos bigint not null,
    id text not null, -- of the event archived last; '' before the first
    at timestamptz, -- of that event
    chain bytea not null, -- of that event; 32 zero bytes before the first
    fence bigint not null
);

-- A job's state as its events have left it: the same text as in Redis. `state` is null where an event could not be
-- read by the build that projected it: whoever needs it folds the archive.
create table book.snapshots (
    ref text primary key, -- job:<id>
    partition integer not null,
    epoch bigint not null,
    pos bigint not null, -- of the last event that advanced it: its version
    shape integer not null,
    state text
);

-- Rows that a ledger refused, and events it could not read. The archive has the event; `daybook replay` tries again.
create table book.projection_errors (
    partition integer not null,
    epoch bigint not null,
    pos bigint not null, -- of the last event folded into the row
    model text not null, -- the table, or `event` for one that could not be read
    key text not null, -- of the row, or the event's id
    sqlstate text not null,
    message text not null,
    at timestamptz not null, -- of that event
    primary key (partition, pos, model, key)
);

-- Events of a log that had forked from the archive: kept aside, never projected.
create table book.quarantine (
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
    reason text not null,
    quarantined_at timestamptz not null default now(),
    primary key (partition, epoch, pos, id)
);

-- What was fixed when the deployment was first opened. One row.
create table book.deployment (
    one boolean primary key default true check (one),
    partitions integer not null,
    prefix text not null,
    opened_at timestamptz not null default now()
);

-- Makes the monthly partitions of `parent` (range by a timestamptz) from the month before `as_of` to three months
-- after it, where they are missing. A month of which the DEFAULT partition holds rows already stays there: all
-- queries find them, and only the dropping of old months has to look.
create function book.make_months(parent regclass, as_of timestamptz) returns integer
language plpgsql as $$
declare
    this_month timestamp := date_trunc('month', as_of at time zone 'UTC');
    month timestamp;
    child text;
    space text;
    made integer := 0;
begin
    select n.nspname into space from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = parent;
    for step in -1..3 loop
        month := this_month + make_interval(months => step);
        child := (select relname from pg_class where oid = parent) || to_char(month, '"_y"YYYY"m"MM');
        continue when to_regclass(format('%I.%I', space, child)) is not null;
        begin
            execute format(
                'create table %I.%I partition of %s for values from (%L) to (%L)',
                space, child, parent,
                to_char(month, 'YYYY-MM-DD"T00:00:00Z"'),
                to_char(month + interval '1 month', 'YYYY-MM-DD"T00:00:00Z"')
            );
            made := made + 1;
        exception when check_violation then
            raise warning 'rows of % stand in the default partition of %', child, parent;
        end;
    end loop;
    return made;
end
$$;
