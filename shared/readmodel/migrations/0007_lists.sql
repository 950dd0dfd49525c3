-- What GET /jobs and GET /executions need to answer any filter in any order without reading a table from end to end
-- (services/api/list_sql.py writes the questions). Each index costs the projector a little at every row it writes, so:
--   runs: one index for each order there is, led by the tenant, and one for each filter whose values can be rare. Where nearly
--   all rows have one value (queue, trigger), only the others are in it. A range of one time in the order of another needs none:
--   the times of a run lie within an hour of each other, but for those in runs_stretched, which are looked at by themselves.
--   Totals are counted in the index alone, so each is led by the tenant, runs_by_job and _by_status too; what asks for a status
--   of all tenants wants one that few runs have.
--   jobs: a row changes with every run, and hardly ever in what is searched, so that stands in a table of its own, job_cards,
--   with the large indexes. It is kept by a trigger: a function of the row, so of the archive, whoever writes it.

-- Runs: whose they are.

alter table ledger.runs
    add column tenant text not null default '', -- of the job; '' if that is not known
    -- These are columns, as only of columns it is known how many rows have what. Whether its times lie more than an hour apart:
    add column is_stretched boolean not null generated always as (
        greatest(id_at, scheduled_for, queued_at, started_at, finished_at)
        - least(id_at, scheduled_for, queued_at, started_at, finished_at) > interval '1 hour'
    ) stored,
    add column error_class text generated always as (error ->> 'class') stored;

drop index ledger.runs_by_job;
drop index ledger.runs_by_status;

update ledger.runs set tenant = jobs.tenant from ledger.jobs where jobs.id = runs.job_id;

create index runs_by_id on ledger.runs (tenant, id desc);
create index runs_by_scheduled on ledger.runs (tenant, scheduled_for, id);
create index runs_by_started on ledger.runs (tenant, started_at, id);
create index runs_by_finished on ledger.runs (tenant, finished_at, id);
create index runs_by_type on ledger.runs (tenant, job_type, id desc);
create index runs_by_queue on ledger.runs (tenant, queue, id desc) where queue <> 'default';
create index runs_by_trigger on ledger.runs (tenant, trigger, id desc) where trigger <> 'schedule';
create index runs_by_error_class on ledger.runs (tenant, error_class, id desc) where error_class is not null;
create index runs_by_fingerprint on ledger.runs (tenant, error_fingerprint, id desc) where error_fingerprint is not null;
-- With all times, so that the index alone tells which of them are in a range, and their order.
create index runs_stretched on ledger.runs (tenant, scheduled_for, queued_at, started_at, finished_at, id, id_at)
where is_stretched;
create index runs_by_job on ledger.runs (tenant, job_id, id desc);
create index runs_by_status on ledger.runs (tenant, status, id desc);
create index runs_by_rare_status on ledger.runs (status, id desc) where status <> 'succeeded';

-- Jobs: what of one that isn't deleted is searched, and hardly ever changes.

create table ledger.job_cards (
    job_id uuid primary key,
    tenant text not null,
    owner text not null,
    name text collate "C" not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    facets text[] not null, -- tag:…, type:…, queue:…
    words tsvector not null -- of name and description; no language's grammar
);

create function ledger.write_job_card() returns trigger
language plpgsql as $$
begin
    if tg_op = 'TRUNCATE' then
        truncate ledger.job_cards;
        return null;
    elsif tg_op = 'DELETE' then
        delete from ledger.job_cards where job_id = old.id;
        return null;
    elsif new.status = 'deleted' then
        delete from ledger.job_cards where job_id = new.id;
        return null;
    end if;
    insert into ledger.job_cards (job_id, tenant, owner, name, created_at, updated_at, facets, words)
    values (
        new.id, new.tenant, new.owner, new.name, new.created_at, new.updated_at,
        array(select 'tag:' || tag from unnest(new.tags) as tag)
        || array['type:' || new.job_type, 'queue:' || new.queue],
        to_tsvector('simple', new.name || ' ' || new.description)
    )
    on conflict (job_id) do update set
        tenant = excluded.tenant,
        owner = excluded.owner,
        name = excluded.name,
        created_at = excluded.created_at,
        updated_at = excluded.updated_at,
        facets = excluded.facets,
        words = excluded.words;
    return null;
end
$$;

create trigger write_job_card_at_first after insert or delete on ledger.jobs
for each row execute function ledger.write_job_card();

create trigger drop_job_cards after truncate on ledger.jobs
for each statement execute function ledger.write_job_card();

-- Looks at the row first: nothing is called for what a run changes.
create trigger write_job_card_again after update on ledger.jobs
for each row when (
    (old.tenant, old.owner, old.name, old.description, old.tags, old.job_type, old.queue, old.created_at, old.updated_at)
    is distinct from
    (new.tenant, new.owner, new.name, new.description, new.tags, new.job_type, new.queue, new.created_at, new.updated_at)
    or (old.status = 'deleted') is distinct from (new.status = 'deleted')
) execute function ledger.write_job_card();

insert into ledger.job_cards (job_id, tenant, owner, name, created_at, updated_at, facets, words)
select
    id, tenant, owner, name, created_at, updated_at,
    array(select 'tag:' || tag from unnest(tags) as tag) || array['type:' || job_type, 'queue:' || queue],
    to_tsvector('simple', name || ' ' || description)
from ledger.jobs
where status <> 'deleted';

create index job_cards_by_created on ledger.job_cards (tenant, created_at, job_id) include (updated_at);
create index job_cards_by_updated on ledger.job_cards (tenant, updated_at, job_id) include (created_at);
create index job_cards_by_name on ledger.job_cards (tenant, name, job_id);
create index job_cards_by_owner on ledger.job_cards (tenant, owner, job_id);
-- Without a list of what is still to be sorted in: that would be read by every search, and emptied in the midst of some write.
create index job_cards_by_facet on ledger.job_cards using gin (facets) with (fastupdate = off);
create index job_cards_by_word on ledger.job_cards using gin (words) with (fastupdate = off);

-- The one order that changes with every run; of one status it is that of its own index, as many a status has no next run.
create index jobs_by_next on ledger.jobs (tenant, next_run_time, id) where status <> 'deleted';

drop index ledger.jobs_by_status;
create index jobs_by_status on ledger.jobs (tenant, status, next_run_time, id);

-- Nobody asks these any more.
drop index ledger.jobs_listed;
drop index ledger.jobs_by_owner;
