-- A page of the story of a job and its runs, newest first: they stand in one partition, so `pos` is their order.
-- $1 job, $2 limit, $3 offset, $4 only at lower positions than this, $5 tenant (null: any).
select
    partition,
    epoch,
    pos,
    id,
    type,
    v,
    subject,
    job,
    advances,
    at,
    actor,
    cause,
    corr,
    trace,
    data
from book.events
where
    about = $1::text
    and pos < coalesce($4::bigint, 9223372036854775807)
    and ($5::text is null or exists (select from ledger.jobs as theirs where theirs.id = $1::text::uuid and theirs.tenant = $5))
order by pos desc
limit $2 offset $3
