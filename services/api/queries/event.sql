-- The archived event at a position, whole. $4 tenant of the job that it is about (null: any).
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where
    partition = $1
    and epoch = $2
    and pos = $3
    and ($4::text is null or exists (select from ledger.jobs as theirs where theirs.id = events.about::uuid and theirs.tenant = $4))
