-- The first statement of a projector's transaction: go from one position to the next, if nobody else has, and nobody
-- has raised the fence. No row: roll back. Takes partition, fence, epoch, pos (as seen); epoch, pos, id, at, chain (new).
update book.checkpoints
set epoch = $5, pos = $6, id = $7, at = $8, chain = $9
where partition = $1 and fence = $2 and epoch = $3 and pos = $4
