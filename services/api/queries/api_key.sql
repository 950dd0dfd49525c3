-- The API key with this id, revoked or not. $2 tenant (null: any).
select *
from ledger.api_keys
where id = $1 and ($2::text is null or tenant = $2)
