-- The rows of book.snapshots of partition $1, columns as in job_rows.snapshot_row.
-- Called by services/projector/audit/archive.py.
select ref, partition, epoch, pos, shape, state from book.snapshots where partition = $1
