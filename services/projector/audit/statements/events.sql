-- The archived events of partition $1 above pos $2 with their links, in order, at most $3 (null = all).
-- Called by services/projector/audit/archive.py: through a cursor for the whole archive.
select
    partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data, chain
from book.events
where partition = $1 and pos > $2
order by pos, at
limit $3
