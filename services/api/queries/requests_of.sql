-- The events that requested the runs $1 (run/<id> each): what each was to do, and still would.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events_and_kept
where subject = any($1::text[]) and type = 'RunRequested'
