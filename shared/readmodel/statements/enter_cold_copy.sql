-- Ranges that the cold copy $1, of execution $2, holds; arrays: partition, first epoch and pos, last epoch and pos, count,
-- link of the last event, SHA-256 of the segment.
insert into book.cold_copies (
    place, partition, first_epoch, first_pos, last_epoch, last_pos, events, chain, sha256, run_id
)
select $1, ranges.*, $2
from unnest(
    $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bytea[], $10::text[]
) as ranges
on conflict (place, partition, first_pos) do update set
    first_epoch = excluded.first_epoch,
    last_epoch = excluded.last_epoch,
    last_pos = excluded.last_pos,
    events = excluded.events,
    chain = excluded.chain,
    sha256 = excluded.sha256,
    run_id = excluded.run_id,
    verified_at = now()
