-- A page of the events that made revisions of the job with subject $1 (job/<id>), newest first.
-- $2 limit, $3 offset, $4 tenant (null: any).
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events_and_kept
where
    subject = $1
    and type in ('JobCreated', 'JobUpdated')
    and ($4::text is null or exists (select from ledger.jobs as theirs where theirs.id = substr($1::text, 5)::uuid and theirs.tenant = $4))
order by pos desc
limit $2 offset $3
