-- Jobs that the switch $1 has paused, with ids after $2 (null: from the first on), at most $3. $4 the asker's tenant (null: any).
select id, state
from ledger.jobs
where
    paused ->> 'switch' = $1 -- jobs_by_switch
    and ($2::uuid is null or id > $2)
    and ($4::text is null or tenant = $4)
    and state = 'paused'
order by id
limit $3
