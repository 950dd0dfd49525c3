-- The ranges of occurrences that the job with subject $1 (job/<id>) has skipped for one of the reasons $2.
select (told.data ->> 'from')::timestamptz as first, (told.data ->> 'to')::timestamptz as last
from (
    select data::jsonb as data
    from book.events
    where subject = $1 and type = 'OccurrencesSkipped'
) as told
where told.data ->> 'reason' = any($2::text[])
