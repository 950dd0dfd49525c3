-- How many revisions the job with subject $1 (job/<id>) has had, counted no further than $2. $3 tenant
-- (null: any).
select count(*)
from (
    select 1
    from book.events_and_kept
    where
        subject = $1
        and type in ('JobCreated', 'JobUpdated')
        and ($3::text is null or exists (select from ledger.jobs as theirs where theirs.id = substr($1::text, 5)::uuid and theirs.tenant = $3))
    limit $2
) as counted
