-- The run that repeats run $1 (an id, as text). There is one at most: a run is retried once.
select *
from ledger.runs
where of = $1 and trigger = 'retry'
order by id
limit 1
