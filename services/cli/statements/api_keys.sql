-- All API keys, newest first.
select id::text as id, prefix, name, role, tenant, owner, issued_at, expires_at, revoked_at
from ledger.api_keys
order by ledger.api_keys.id desc
