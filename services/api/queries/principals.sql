-- What people have changed, by actor, most first. $1 and $2 from when to before when, $3 how many, $4 tenant (null: any).
-- The actors left out are those of events_by_people (migration principals), parts of the system that work by themselves.
select
    actor,
    count(*) as changes,
    max(at) as last_at
from book.events
where
    actor not in ('timer', 'executor', 'projector', 'daybook', '')
    and at >= $1
    and at < $2
    and (
        $4::text is null
        or exists (select from ledger.jobs as theirs where theirs.id = events.about::uuid and theirs.tenant = $4)
        or starts_with(subject, 'calendar/' || $4 || ':')
        or subject like 'apikey/%'
        and exists (select from ledger.api_keys as theirs where theirs.hash = substr(events.subject, 8) and theirs.tenant = $4)
    )
group by actor
order by changes desc, actor
limit $3
