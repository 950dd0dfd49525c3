-- The last state that was kept of each of these jobs ($1) up to a pos ($2), and none from before another ($3).
select kept.*
from unnest($1::text[], $2::bigint[], $3::bigint[]) as wanted (job, upto, since)
cross join lateral (
    select job, epoch, pos, state, active_runs, last_run_id, last_run_status, last_run_finished_at
    from book.waypoints
    where job = wanted.job and pos <= wanted.upto and pos >= wanted.since
    order by pos desc
    limit 1
) as kept
