-- The archived event at a position, whole.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where partition = $1 and epoch = $2 and pos = $3
