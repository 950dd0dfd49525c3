-- What the schedule of job $1 has decided above pos $2, in order: at most $3, among the first $4 events of its story.
-- What a run is given to do stands behind `trigger`, and may say anything.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from (
    select *
    from book.events
    where about = $1 and pos > $2
    order by pos
    limit $4
) as story
where
    type = 'OccurrencesSkipped'
    or (type = 'RunRequested' and position('"trigger":"schedule"' in split_part(left(data, 400), '"spec":', 1)) > 0)
order by pos
limit $3
