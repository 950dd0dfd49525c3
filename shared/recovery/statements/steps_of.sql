-- The events that have advanced subject $1, in order: its own, and of job $2 (null: of none) those of its runs with
-- which it has advanced; up to position $3, null: all. Called by shared/recovery/stepping.py, through a cursor.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where (subject = $1 or (about = $2 and advances = 'both')) and ($3::bigint is null or pos <= $3)
order by pos
