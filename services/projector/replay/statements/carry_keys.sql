-- API keys of partition $1 that were issued before $3: their beginning was dropped.
insert into ledger_next.api_keys
select api_keys.* from ledger.api_keys where partition = $1 and issued_at <= $3 and $2::bigint is not null
