-- The events of partition $1 above pos $2, in order, at most $3.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where partition = $1 and pos > $2
order by pos
limit $3
