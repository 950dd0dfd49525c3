-- What is brought forward, as arrays in the order of the columns of book.brought_forward.
insert into book.brought_forward (
    ref, partition, epoch, pos, shape, state, fence, start_id, active_runs, last_run_id, last_run_status,
    last_run_finished_at, told_epoch, told_pos
)
select * from unnest(
    $1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::integer[], $6::text[], $7::text[], $8::text[],
    $9::integer[], $10::uuid[], $11::text[], $12::timestamptz[], $13::bigint[], $14::bigint[]
)
on conflict (ref) do update set
    epoch = excluded.epoch,
    pos = excluded.pos,
    shape = excluded.shape,
    state = excluded.state,
    fence = excluded.fence,
    start_id = excluded.start_id,
    active_runs = excluded.active_runs,
    last_run_id = excluded.last_run_id,
    last_run_status = excluded.last_run_status,
    last_run_finished_at = excluded.last_run_finished_at,
    told_epoch = excluded.told_epoch,
    told_pos = excluded.told_pos
