-- How far each partition is archived (when its last event was committed), where its archive begins (when the last event before
-- that was), and the last event up to the time $1: null where none is asked for, its epoch null where it has left the archive.
select
    marks.partition, marks.at as archived_at, cut.epoch as cut_epoch, cut.pos as cut_pos, cut.at as cut_at,
    reached.pos as upto_pos, reached.epoch as upto_epoch
from book.checkpoints as marks
left join lateral (
    select epoch, pos, at from book.archive_cuts where partition = marks.partition order by pos desc limit 1
) as cut on true
left join lateral (
    select found.pos, (select epoch from book.events where partition = marks.partition and pos = found.pos) as epoch
    from (select book.pos_before(marks.partition, $1::timestamptz + interval '1 millisecond') as pos) as found
    where $1::timestamptz is not null
) as reached on true
order by marks.partition
