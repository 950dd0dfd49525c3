-- Notes where the archive of a partition begins from now on: the columns of book.archive_cuts but for the last.
insert into book.archive_cuts (partition, epoch, pos, id, at, chain, events, month, run_id, job_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
