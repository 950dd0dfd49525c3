-- The states of the jobs that a batch advanced; arrays in the order of the columns of book.snapshots, sorted by ref.
insert into book.snapshots (ref, partition, epoch, pos, shape, state)
select * from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::integer[], $6::text[])
on conflict (ref) do update set
    epoch = excluded.epoch, pos = excluded.pos, shape = excluded.shape, state = excluded.state
