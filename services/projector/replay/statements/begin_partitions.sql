-- Where each partition begins and how far workers read: of those in $1 from the first event on, which cold copies have.
insert into replay.partitions (partition, begins, epoch, pos, upto)
select
    checkpoints.partition, coalesce(cut.pos, 0), coalesce(cut.epoch, 0), coalesce(cut.pos, 0), checkpoints.pos
from book.checkpoints
left join lateral (
    select epoch, pos
    from book.archive_cuts
    where archive_cuts.partition = checkpoints.partition and not archive_cuts.partition = any($1::integer[])
    order by pos desc
    limit 1
) as cut on true
