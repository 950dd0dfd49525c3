-- Which limit a run waits for: its concurrency key has enough of them at work, or enough of its job type have just started.

alter table ledger.runs
    add column held jsonb; -- {reason, key, until}; null: it waits for none
