-- Runs end in two more ways, cancelled and expired; dead letters are grouped by what went wrong; a run can repeat one.

alter table ledger.runs
    add column cancel jsonb, -- {by, at, reason}: who wanted it ended
    add column error_fingerprint text; -- of a failed run: the same for messages that differ in numbers and ids only

-- Has this dead letter been tried again?
create index runs_of on ledger.runs (of) where of is not null;

alter table ledger.run_hourly
    add column cancelled bigint not null default 0,
    add column expired bigint not null default 0;
