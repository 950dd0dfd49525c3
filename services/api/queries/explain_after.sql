-- The first events about subject $1 that are of one of the types $2 (null: any but output), above pos $3: at most $4.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events_and_kept
where subject = $1 and pos > $3 and (type = any($2::text[]) or ($2 is null and type <> 'RunOutput'))
order by pos
limit $4
