-- How many runs wait to be started, and how many are running.
select
    count(*) filter (where status = 'queued') as queued,
    count(*) filter (where status = 'running') as running
from ledger.runs
where status in ('queued', 'running')
