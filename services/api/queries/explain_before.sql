-- The last events about subject $1 that are of one of the types $2, up to pos $3: at most $4, the newest first.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events_and_kept
where subject = $1 and type = any($2::text[]) and pos <= $3
order by pos desc
limit $4
