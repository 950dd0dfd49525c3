-- How many events a job's story has, counted no further than $2.
select count(*)
from (
    select 1
    from book.events
    where about = $1
    limit $2
) as counted
