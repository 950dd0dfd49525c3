-- Whole rows of ledger.calendars, as arrays in the order of its columns; dates and weekdays as JSON text.
insert into ledger.calendars (
    tenant, name, partition, revision, description, dates, weekdays, timezone, created_at, updated_at, updated_by,
    deleted, epoch, pos
)
select *
from unnest(
    $1::text[], $2::text[], $3::integer[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::timestamptz[], $10::timestamptz[], $11::text[], $12::boolean[], $13::bigint[], $14::bigint[]
)
on conflict (tenant, name) do update set
    partition = excluded.partition,
    revision = excluded.revision,
    description = excluded.description,
    dates = excluded.dates,
    weekdays = excluded.weekdays,
    timezone = excluded.timezone,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    updated_by = excluded.updated_by,
    deleted = excluded.deleted,
    epoch = excluded.epoch,
    pos = excluded.pos
