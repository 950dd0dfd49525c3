-- Requests of runs that have no row any more are asked for by nobody. A ledger without any row is being made anew.
delete from book.kept_events
where type = 'RunRequested'
  and exists (select from ledger.runs)
  and not exists (select from ledger.runs where runs.id = substr(kept_events.subject, 5)::uuid)
