-- All archived events of partition $1 after position $2 with their links, in order: what a cold copy has of it.
-- Called by shared/readmodel/cold/exporting.py and heads.py, through a cursor.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data, chain
from book.events
where partition = $1 and pos > $2
order by pos
