-- Backfills of partition $1 that were requested before $3: their beginning was dropped.
insert into ledger_next.backfills
select backfills.* from ledger.backfills where partition = $1 and created_at <= $3 and $2::bigint is not null
