-- Whose these jobs ($1, ids) and API keys ($2, hashes) are.
select id::text as name, tenant from ledger.jobs where id = any($1::text[]::uuid[])
union all
select hash, tenant from ledger.api_keys where hash = any($2::text[])
