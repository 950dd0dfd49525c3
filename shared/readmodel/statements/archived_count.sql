-- How many events were ever archived: what a progress bar goes by. Called by shared/readmodel/cold/exporting.py.
select coalesce(sum(pos), 0)::bigint from book.checkpoints
