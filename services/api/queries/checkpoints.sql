-- How far each partition is archived.
select
    partition,
    epoch,
    pos
from book.checkpoints
