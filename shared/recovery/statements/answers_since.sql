-- answers_since
-- The events in partition $1 since $2, in order, whose commits keep an answer for a day: requests of retries and of runs that follow on others, and what an
-- Idempotency-Key is behind (shared/eventlog/once.py).
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where
    partition = $1 and at > $2
    and (
        cause like 'key:%'
        or (type = 'RunRequested' and (data like '%"trigger":"retry"%' or data like '%"trigger":"chain"%'))
    )
order by pos
