-- How many revisions the job with subject $1 (job/<id>) has had, counted no further than $2.
select count(*)
from (
    select 1
    from book.events
    where subject = $1 and type in ('JobCreated', 'JobUpdated')
    limit $2
) as counted
