-- What no ledger took, as arrays in the order of the columns of book.projection_errors.
insert into book.projection_errors (partition, epoch, pos, model, key, sqlstate, message, at)
select * from unnest(
    $1::integer[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[]
)
on conflict (partition, pos, model, key) do nothing
