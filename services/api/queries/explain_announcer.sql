-- The last event up to pos $2 that announced an occurrence of job $1: it is among the last $3 of its story, or not looked for.
-- What a run is given to do stands behind `trigger`, and may say anything.
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from (
    select *
    from book.events
    where about = $1 and pos <= $2
    order by pos desc
    limit $3
) as story
where
    type in ('JobCreated', 'JobUpdated', 'OccurrencesSkipped', 'ScheduleReplanned')
    or (type = 'RunRequested' and position('"trigger":"schedule"' in split_part(left(data, 400), '"spec":', 1)) > 0)
order by pos desc
limit 1
