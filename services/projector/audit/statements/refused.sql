-- What the ledgers have refused of partition $1, oldest first.
-- Called by services/projector/audit/archive.py.
select model, key, message from book.projection_errors where partition = $1 order by pos, model, key
