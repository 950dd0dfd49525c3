-- Ids of events that stand at more than one position of partitions $1, in the archive or in what the log has after it
-- ($2 partitions, $3 pos, $4 ids; an event that was archived meanwhile counts once): an example, and how many.
-- Called by services/projector/audit/archive.py.
select id, min(place) as one, max(place) as another, count(*) over () as ids
from (
    select id, partition || ':' || pos as place from book.events where partition = any($1::integer[])
    union
    select id, partition || ':' || pos from unnest($2::integer[], $3::bigint[], $4::text[]) as log (partition, pos, id)
) as events
group by id
having count(*) > 1
order by id
limit 1
