-- Rows of runs that can't be made anew; $1 is their partition. Called by services/projector/replay/dropped.py, as all carry_*.
insert into ledger_next.runs ({columns})
select {columns}
from ledger.runs
where partition = $1 and exists (select from replay.runs_carried where runs_carried.id = runs.id)
    and ($2::bigint, $3::timestamptz) is not null
