-- Ids of jobs after $1, in order, at most $2, that were read and stand in no ledger yet.
select id from replay.jobs where id > $1::uuid order by id limit $2
