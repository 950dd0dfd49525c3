-- The first events by a timer of partition $1 above pos $2, and the openings of its log: at most $4, among the first $3.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from (
    select *
    from book.events
    where partition = $1 and pos > $2
    order by pos
    limit $3
) as next
where actor = 'timer' or subject = 'log'
order by pos
limit $4
