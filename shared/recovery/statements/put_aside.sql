-- put_aside
-- Entries of a forked log, as arrays in the order of the columns of book.quarantine; what is there already stays.
insert into book.quarantine (
    partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data, reason
)
select * from unnest(
    $1::integer[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::text[],
    $9::text[], $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[]
)
on conflict (partition, epoch, pos, id) do nothing
