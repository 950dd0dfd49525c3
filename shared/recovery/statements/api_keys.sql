-- The events of the API keys of partition $1, in order.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where partition = $1 and type in ('ApiKeyIssued', 'ApiKeyRevoked')
order by pos
