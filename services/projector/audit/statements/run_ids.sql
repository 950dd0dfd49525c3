-- The ids of all rows of ledger.runs of partition $1, and when the runs ended.
-- Called by services/projector/audit/archive.py.
select id, finished_at from ledger.runs where partition = $1
