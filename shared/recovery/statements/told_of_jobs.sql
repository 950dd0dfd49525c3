-- Events of these jobs ($1) and their runs above a pos ($2) up to another ($3): those that advance a job, and of the types $4,
-- which begin and end runs. At most $5 of each job; in order.
select
    told.partition, told.epoch, told.pos, told.id, told.type, told.v, told.subject, told.job, told.advances, told.at,
    told.actor, told.cause, told.corr, told.trace, told.data
from unnest($1::text[], $2::bigint[], $3::bigint[]) as wanted (id, after, upto)
cross join lateral (
    select *
    from book.events
    where
        about = wanted.id
        and pos > wanted.after
        and pos <= wanted.upto
        and (subject = 'job/' || wanted.id or advances = 'both' or type = any($4::text[]))
    order by pos
    limit $5
) as told
order by wanted.id, told.pos
