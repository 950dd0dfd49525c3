-- runs_unfinished
-- Ids of the runs of partition $1 that may not have ended: by the ledger, and those whose row or event a ledger refused.
select id::text from ledger.runs where partition = $1 and finished_at is null
union
select key from book.projection_errors where partition = $1 and model = 'runs'
union
select substr(events.subject, 5)
from book.projection_errors as refused
join book.events on events.partition = refused.partition and events.pos = refused.pos
where refused.partition = $1 and refused.model = 'event' and events.subject like 'run/%'
