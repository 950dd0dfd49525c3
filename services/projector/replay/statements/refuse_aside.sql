-- The row at $2 of the table `aside` is not taken by an index of its ledger $1: SQLSTATE $3, message $4.
insert into replay.projection_errors (partition, epoch, pos, model, key, sqlstate, message, at)
select
    (told ->> 'partition')::integer, (told ->> 'epoch')::bigint, (told ->> 'pos')::bigint, $1, told ->> 'id', $3, $4,
    coalesce(told ->> 'updated_at', told ->> 'finished_at', told ->> 'scheduled_for')::timestamptz
from (select to_jsonb(aside) as told from aside where ctid = $2::text::tid) as row
on conflict do nothing
