-- The events about subject $1 (run/<id> or job/<id>) above pos $2, oldest first, at most $3.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where subject = $1 and pos > $2
order by pos
limit $3
