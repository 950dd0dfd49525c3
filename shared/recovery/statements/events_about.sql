-- events_about
-- The events of job $1 and of its runs, in order.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where about = $1
order by pos
