-- Job $1 is not taken by its ledger: SQLSTATE $2, message $3.
insert into replay.projection_errors (partition, epoch, pos, model, key, sqlstate, message, at)
select partition, epoch, pos, 'jobs', id::text, $2, $3, updated_at from replay.jobs where id = $1::uuid
on conflict do nothing
