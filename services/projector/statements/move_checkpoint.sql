-- The first statement of a projector's transaction: go from one position to the next, if nobody else has, and nobody
-- has raised the fence or replaced the ledgers. No row: roll back. Takes partition, fence, ledgers, epoch, pos (as seen);
-- epoch, pos, id, at, chain (new).
update book.checkpoints
set epoch = $6, pos = $7, id = $8, at = $9, chain = $10
where partition = $1 and fence = $2 and ledgers = $3 and epoch = $4 and pos = $5
