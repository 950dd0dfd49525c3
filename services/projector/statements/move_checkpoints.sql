-- What holds a group together: each partition goes from one position to the next, if nobody else has moved it, raised
-- its fence, replaced the ledgers, or holds it just now. It waits for no checkpoint, so it has a part in no deadlock; for what comes after,
-- the group waits 250 ms at most, lest one partition's rows keep the others. Takes arrays: partition, fence, ledgers,
-- epoch, pos (as seen); epoch, pos, id, at, chain (new). Returns a row for each that moved.
with moves as (
    select * from unnest(
        $1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[],
        $9::timestamptz[], $10::bytea[]
    ) as moves (partition, fence, ledgers, epoch, pos, new_epoch, new_pos, new_id, new_at, new_chain)
), held as materialized (
    select checkpoints.partition
    from book.checkpoints join moves using (partition, fence, ledgers, epoch, pos)
    for no key update of checkpoints skip locked
)
update book.checkpoints
set epoch = new_epoch, pos = new_pos, id = new_id, at = new_at, chain = new_chain
from moves join held using (partition)
where checkpoints.partition = moves.partition
returning set_config('lock_timeout', '250', true)
