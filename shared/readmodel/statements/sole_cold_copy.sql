-- Events that have left the archive and that only the cold copy holds whose place is $1, or ends in /$1: the first range.
with copies as (
    select partition, first_pos, last_pos, place = $1 or right(place, length($1) + 1) = '/' || $1 as named
    from book.cold_copies
),
gone as (
    select copies.partition, int8range(first_pos, least(last_pos, cut.pos), '[]') as positions
    from copies
    join (select partition, max(pos) as pos from book.archive_cuts group by partition) as cut
        on cut.partition = copies.partition and copies.first_pos <= cut.pos
    where named
),
others as (
    select partition, range_agg(int8range(first_pos, last_pos, '[]')) as positions
    from copies
    where not named
    group by partition
)
select gone.partition, lower(gone.positions) as first, upper(gone.positions) - 1 as last
from gone
left join others using (partition)
where not coalesce(others.positions, '{}') @> gone.positions
order by gone.partition, gone.positions
limit 1
