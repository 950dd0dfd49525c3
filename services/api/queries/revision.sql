-- The event that made revision $2 of the job with subject $1 (job/<id>): each edit adds one.
-- $3 tenant (null: any).
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events_and_kept
where
    subject = $1
    and type in ('JobCreated', 'JobUpdated')
    and ($3::text is null or exists (select from ledger.jobs as theirs where theirs.id = substr($1::text, 5)::uuid and theirs.tenant = $3))
order by pos
limit 1 offset $2 - 1
