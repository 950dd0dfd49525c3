-- events_of_all
-- The events about any of the subjects $2 in partition $1, in order.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where subject = any($2::text[]) and partition = $1
order by pos
