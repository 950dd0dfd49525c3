-- events_by_id
-- Where those of the events $3 (ids) stand in partition $1 that are about one of the subjects $2.
select id, epoch, pos, at
from book.events
where partition = $1 and subject = any($2::text[]) and id = any($3::text[])
