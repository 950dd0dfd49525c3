-- After which event the archive of each partition begins, where what was before has been dropped.
select distinct on (partition)
    partition,
    epoch,
    pos
from book.archive_cuts
order by partition, pos desc
