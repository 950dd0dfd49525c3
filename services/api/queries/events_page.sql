-- A page of the story of a job and its runs, newest first: they stand in one partition, so `pos` is their order.
select
    partition,
    epoch,
    pos,
    id,
    type,
    v,
    subject,
    job,
    advances,
    at,
    actor,
    cause,
    corr,
    trace,
    data
from book.events
where about = $1
order by pos desc
limit $2 offset $3
