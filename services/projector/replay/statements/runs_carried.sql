-- Runs of partition $1 that had begun when what was up to pos $2 was dropped.
insert into replay.runs_carried (id)
select id
from ledger.runs
where
    partition = $1
    and (pos <= $2 or exists (select from book.brought_forward where brought_forward.ref = 'run:' || runs.id))
    and ($3::timestamptz is not null)
