-- States of jobs that are kept for looking back; arrays in the order of the columns of book.waypoints. The same events leave
-- the same ones, so one that is there is right.
insert into book.waypoints (
    job, pos, partition, epoch, shape, state, active_runs, last_run_id, last_run_status, last_run_finished_at
)
select * from unnest(
    $1::text[], $2::bigint[], $3::integer[], $4::bigint[], $5::integer[], $6::text[], $7::integer[], $8::uuid[],
    $9::text[], $10::timestamptz[]
)
on conflict (job, pos) do nothing
