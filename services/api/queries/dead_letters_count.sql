-- How many ended runs such a choice has ($1 to $8 as in dead_letters_page.sql), counted no further than $9.
select count(*)
from (
    select 1
    from ledger.runs as dead
    where
        status = $1 and status <> 'succeeded' -- so that the index of those is taken
        and ($2::uuid is null or job_id = $2)
        and ($3::text is null or job_type = $3)
        and ($4::text is null or queue = $4)
        and ($5::text is null or error ->> 'class' = $5)
        and ($6::text is null or error_fingerprint = $6)
        and ($7::timestamptz is null or finished_at >= $7)
        and ($8::timestamptz is null or finished_at < $8)
        and ($10::text is null or tenant = $10)
        and not exists (select 1 from ledger.jobs where jobs.id = dead.job_id and jobs.status = 'deleted')
        and not exists (
            select 1
            from ledger.runs as retry
            where retry.of = dead.id::text and retry.trigger = 'retry'
        )
    limit $9
) as counted
