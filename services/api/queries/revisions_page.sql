-- A page of the events that made revisions of the job with subject $1 (job/<id>), newest first.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where subject = $1 and type in ('JobCreated', 'JobUpdated')
order by pos desc
limit $2 offset $3
