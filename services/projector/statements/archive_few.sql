-- A few events into the archive; many go by COPY, which costs a round trip more. Columns of book.events, as arrays.
insert into book.events (
    partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data, chain
)
select * from unnest(
    $1::integer[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::text[],
    $9::text[], $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bytea[]
)
