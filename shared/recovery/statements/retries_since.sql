-- retries_since
-- The requests of retries in partition $1 since $2, in order: each was made once, and is to be remembered for a day.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where partition = $1 and at > $2 and type = 'RunRequested' and data like '%"trigger":"retry"%'
order by pos
