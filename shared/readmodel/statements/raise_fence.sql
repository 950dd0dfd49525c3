-- Raises the fence of partition $1 to epoch $2, never lowers it; makes the checkpoint of a new partition, whose chain
-- begins with $3. Waits for a projector's transaction, which holds the row.
insert into book.checkpoints (partition, epoch, pos, id, at, chain, fence)
values ($1, 0, 0, '', null, $3, $2)
on conflict (partition) do update set fence = greatest(checkpoints.fence, excluded.fence)
returning partition, epoch, pos, id, at, chain, fence, ledgers
