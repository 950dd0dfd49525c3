-- Rows of ledger.api_keys, as arrays in the order of its columns. What a batch hasn't heard of a key is null, and stays as
-- it is: a batch with a key's end only knows neither its name nor its beginning.
insert into ledger.api_keys (
    hash, partition, id, prefix, name, role, tenant, owner, issued_by, issued_at, expires_at, revoked_by, revoked_at,
    epoch, pos
)
select
    rows.hash, rows.partition, coalesce(rows.id, known.id), coalesce(rows.prefix, known.prefix),
    coalesce(rows.name, known.name), coalesce(rows.role, known.role), coalesce(rows.tenant, known.tenant),
    coalesce(rows.owner, known.owner), coalesce(rows.issued_by, known.issued_by),
    coalesce(rows.issued_at, known.issued_at), coalesce(rows.expires_at, known.expires_at),
    coalesce(rows.revoked_by, known.revoked_by), coalesce(rows.revoked_at, known.revoked_at), rows.epoch, rows.pos
from unnest(
    $1::text[], $2::integer[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::timestamptz[], $11::timestamptz[], $12::text[], $13::timestamptz[], $14::bigint[], $15::bigint[]
) as rows (
    hash, partition, id, prefix, name, role, tenant, owner, issued_by, issued_at, expires_at, revoked_by, revoked_at,
    epoch, pos
)
left join ledger.api_keys as known on known.hash = rows.hash
on conflict (hash) do update set
    revoked_by = excluded.revoked_by,
    revoked_at = excluded.revoked_at,
    epoch = excluded.epoch,
    pos = excluded.pos
