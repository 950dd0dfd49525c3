-- The last event by a timer of partition $1 up to pos $2, if it is among the last $3.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from (
    select *
    from book.events
    where partition = $1 and pos <= $2
    order by pos desc
    limit $3
) as recent
where actor = 'timer' and subject <> 'log'
order by pos desc
limit 1
