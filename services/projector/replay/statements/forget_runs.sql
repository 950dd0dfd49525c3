-- Runs that ended as $1 before $2, and that the live ledger hasn't got: retention has deleted them.
delete from ledger_next.runs
where
    status = $1
    and finished_at < $2
    and not exists (select from ledger.runs as live where live.id = runs.id and live.id_at = runs.id_at)
