-- A page of events, over partitions: $1 their numbers, between $2 and $3 (pos, both exclusive), one entry each.
-- {direction} asc or desc: by commit time, which never falls in a partition, so each partition's events are in order.
-- {reach} what an index leads to: services/api/ledger.py.
-- $4 types, $5 actor, $6 job whose story it is, $7 subject; null: any. $8 since (inclusive), $9 until (exclusive).
-- $10 tenant (null: everything is there, also events of the log itself), $11 whether API keys of it are too. $12 limit.
select found.*
from unnest($1::integer[], $2::bigint[], $3::bigint[]) as bounds (number, above, below)
cross join lateral (
    select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
    from book.events
    where
        partition = bounds.number
        and pos > bounds.above
        and pos < bounds.below
        and {reach}
        and ($4::text[] is null or type = any($4))
        and ($5::text is null or actor = $5)
        and ($6::text is null or about = $6)
        and ($7::text is null or subject = $7)
        and at >= coalesce($8::timestamptz, '-infinity')
        and at < coalesce($9::timestamptz, 'infinity')
        and (
            $10::text is null
            or exists (select from ledger.jobs as theirs where theirs.id = events.about::uuid and theirs.tenant = $10)
            or starts_with(subject, 'calendar/' || $10 || ':')
            or (
                $11::boolean
                and subject like 'apikey/%'
                and exists (
                    select from ledger.api_keys as theirs
                    where theirs.hash = substr(events.subject, 8) and theirs.tenant = $10
                )
            )
        )
    order by pos {direction}
    limit $12
) as found
order by found.at {direction}, found.partition {direction}, found.pos {direction}
limit $12
