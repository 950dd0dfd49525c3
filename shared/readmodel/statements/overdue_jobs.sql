-- The jobs whose next occurrence lies at or before the moment of their partition ($1 partitions, $2 moments), with their states,
-- the most overdue of each tenant first, at most $3; of tenant $4 alone (null: of all). `state` is null where an event could not
-- be read. Tenants are found by steps along the index that they lead, and so are their jobs: where none is overdue, that is all
-- that is read.
with recursive tenants (tenant) as (
    (select tenant from ledger.jobs where status <> 'deleted' order by tenant limit 1)
    union all
    select (select tenant from ledger.jobs where tenant > tenants.tenant and status <> 'deleted' order by tenant limit 1)
    from tenants
    where tenants.tenant is not null
),

moments as (
    select * from unnest($1::integer[], $2::timestamptz[]) as moment (partition, by)
)

select overdue.id, overdue.name, overdue.partition, overdue.next_run_time, snapshots.state
from tenants
cross join lateral (
    select jobs.id, jobs.name, jobs.partition, jobs.next_run_time
    from ledger.jobs
    join moments on moments.partition = jobs.partition and jobs.next_run_time <= moments.by
    where
        jobs.tenant = tenants.tenant
        and jobs.status <> 'deleted'
        and jobs.next_run_time <= (select max(by) from moments)
    order by jobs.next_run_time
    limit $3
) as overdue
left join book.snapshots on snapshots.ref = 'job:' || overdue.id
where $4::text is null or tenants.tenant = $4
limit $3
