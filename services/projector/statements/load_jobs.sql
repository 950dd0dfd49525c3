-- What is known of these jobs ($1: ids): state, and the row's share. job_rows.loaded reads the columns in this order.
select
    wanted.id, snapshots.state, snapshots.epoch, snapshots.pos,
    jobs.active_runs, jobs.last_run_id, jobs.last_run_status, jobs.last_run_finished_at, jobs.epoch, jobs.pos,
    jobs.tenant
from unnest($1::text[]) as wanted (id)
join book.snapshots on snapshots.ref = 'job:' || wanted.id
left join ledger.jobs on jobs.id = wanted.id::uuid
