-- The API keys that $1, an id or a prefix, means.
select id::text as id, hash
from ledger.api_keys
where ledger.api_keys.id::text = $1 or prefix = $1
