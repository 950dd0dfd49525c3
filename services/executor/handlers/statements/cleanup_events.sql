-- The events of partition $1 above pos $2 that were committed before $3, in order, with their links; at most $4.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data, chain
from book.events
where partition = $1 and pos > $2 and at < $3
order by pos
limit $4
