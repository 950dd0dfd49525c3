-- A page of the API keys, newest first. $1 limit, $2 offset, $3 tenant (null: any).
select *
from ledger.api_keys
where ($3::text is null or tenant = $3)
order by id desc
limit $1 offset $2
