-- The archived event at pos $2 of partition $1, whatever its epoch.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where partition = $1 and pos = $2
