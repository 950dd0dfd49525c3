-- The events of partition $1 that are of one of the types $2, in order.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where partition = $1 and type = any($2::text[])
order by pos
