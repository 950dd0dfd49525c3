-- How far partition $1 is archived.
select partition, epoch, pos, id, at, chain, fence, ledgers from book.checkpoints where partition = $1
