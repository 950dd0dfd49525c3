-- How many events a job's story has, counted no further than $2. $3 tenant (null: any).
select count(*)
from (
    select 1
    from book.events
    where
        about = $1::text
        and ($3::text is null or exists (select from ledger.jobs as theirs where theirs.id = $1::text::uuid and theirs.tenant = $3))
    limit $2
) as counted
