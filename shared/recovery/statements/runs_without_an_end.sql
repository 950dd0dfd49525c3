-- runs_without_an_end
-- Ids of the runs of partition $1 of which no event is one of the types $2, which end a run: by the archive alone.
select substr(requested.subject, 5)
from book.events as requested
where requested.partition = $1
  and requested.type = 'RunRequested'
  and not exists (
    select from book.events as ended
    where ended.partition = $1 and ended.subject = requested.subject and ended.type = any($2::text[])
  )
