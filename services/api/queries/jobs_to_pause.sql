-- Jobs that could be paused: with all of the facets $1 (none: all jobs), with ids after $2 (null: from the first on), at most $3.
-- $4 the asker's tenant (null: any).
select cards.job_id as id, jobs.state
from ledger.job_cards as cards
inner join ledger.jobs as jobs on cards.job_id = jobs.id
where
    cards.facets @> $1::text[]
    and ($2::uuid is null or cards.job_id > $2)
    and ($4::text is null or cards.tenant = $4)
    and jobs.state in ('pending', 'paused')
order by cards.job_id
limit $3
