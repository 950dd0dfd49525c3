-- What the attempts of a run have logged, the oldest first. $1 run.
select
    (data::jsonb ->> 'attempt')::integer as attempt,
    data::jsonb ->> 'text' as text,
    (data::jsonb ->> 'dropped')::bigint as dropped,
    at
from book.events
where subject = 'run/' || $1 and type = 'RunOutput'
order by pos
