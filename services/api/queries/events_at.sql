-- Which of the positions (partitions $1, epochs $2, pos $3) are those of archived events: their partitions.
select asked.number as partition
from unnest($1::integer[], $2::bigint[], $3::bigint[]) as asked (number, epoch, pos)
where exists (
    select from book.events where partition = asked.number and epoch = asked.epoch and pos = asked.pos
)
