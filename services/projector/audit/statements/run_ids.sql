-- The ids of all rows of ledger.runs of partition $1.
-- Called by services/projector/audit/archive.py.
select id from ledger.runs where partition = $1
