-- Whole rows of ledger.jobs, as arrays in the order of its columns; tags and JSON as text. Rows come sorted by id.
insert into ledger.jobs (
    id, partition, owner, tenant, name, description, tags, job_type, queue, priority, spec, revision, status, state,
    active_runs, next_run_time, last_run_id, last_run_status, last_run_finished_at, paused, skipped, created_at,
    updated_at, epoch, pos
)
select
    id, partition, owner, tenant, name, description, array(select jsonb_array_elements_text(tags::jsonb)), job_type,
    queue, priority, spec::jsonb, revision, status, state, active_runs, next_run_time, last_run_id, last_run_status,
    last_run_finished_at, paused::jsonb, skipped::jsonb, created_at, updated_at, epoch, pos
from unnest(
    $1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::integer[], $11::text[], $12::integer[], $13::text[], $14::text[], $15::integer[], $16::timestamptz[],
    $17::uuid[], $18::text[], $19::timestamptz[], $20::text[], $21::text[], $22::timestamptz[], $23::timestamptz[],
    $24::bigint[], $25::bigint[]
) as rows (
    id, partition, owner, tenant, name, description, tags, job_type, queue, priority, spec, revision, status, state,
    active_runs, next_run_time, last_run_id, last_run_status, last_run_finished_at, paused, skipped, created_at,
    updated_at, epoch, pos
)
on conflict (id) do update set
    owner = excluded.owner,
    tenant = excluded.tenant,
    name = excluded.name,
    description = excluded.description,
    tags = excluded.tags,
    job_type = excluded.job_type,
    queue = excluded.queue,
    priority = excluded.priority,
    spec = excluded.spec,
    revision = excluded.revision,
    status = excluded.status,
    state = excluded.state,
    active_runs = excluded.active_runs,
    next_run_time = excluded.next_run_time,
    last_run_id = excluded.last_run_id,
    last_run_status = excluded.last_run_status,
    last_run_finished_at = excluded.last_run_finished_at,
    paused = excluded.paused,
    skipped = excluded.skipped,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    epoch = excluded.epoch,
    pos = excluded.pos
