-- Runs of job $1 that were asked for above pos $2 and up to pos $3, in order: at most $4.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where about = $1 and type = 'RunRequested' and pos > $2 and pos <= $3
order by pos
limit $4
