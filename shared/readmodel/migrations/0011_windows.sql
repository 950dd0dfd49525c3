-- What somebody wants skipped of a job's schedule, soonest first: [{scheduled_for, by, at, reason}].
-- `next_run_time` is from here on when the job runs next: with its jitter, and past what is to be skipped.
alter table ledger.jobs add column skipped jsonb not null default '[]';
