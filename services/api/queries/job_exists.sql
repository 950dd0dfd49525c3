-- Whether there is a job with this id, or was: what it left behind stays readable.
select exists(select 1 from ledger.jobs where id = $1)
