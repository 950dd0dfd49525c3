-- How far partition $1 is archived.
select partition, epoch, pos, id, at, chain, fence from book.checkpoints where partition = $1
