-- Whether there is a job with this id, or was: what it left behind stays readable. $2 tenant (null: any).
select exists(select 1 from ledger.jobs where id = $1 and ($2::text is null or tenant = $2))
