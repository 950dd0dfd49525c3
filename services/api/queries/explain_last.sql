-- The last event of each of the types $2 about subject $1, up to pos $3.
select distinct on (type) partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events_and_kept
where subject = $1 and type = any($2::text[]) and pos <= $3
order by type, pos desc
