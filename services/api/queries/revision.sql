-- The event that made revision $2 of the job with subject $1 (job/<id>): each edit adds one.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where subject = $1 and type in ('JobCreated', 'JobUpdated')
order by pos
limit 1 offset $2 - 1
