-- Jobs by id downwards from before $1 (null: the last), deleted or not, at most $2; `fits`: whether what never changes of one
-- is as asked for: $3 owner, $4 job type, $5 created then or later, $6 or later than, $7 then or before, $8 or before.
-- $9 tenant; null is any.
select
    id,
    partition,
    ($3::text is null or owner = $3)
    and ($4::text is null or job_type = $4)
    and ($5::timestamptz is null or created_at >= $5)
    and ($6::timestamptz is null or created_at > $6)
    and ($7::timestamptz is null or created_at <= $7)
    and ($8::timestamptz is null or created_at < $8)
    and ($9::text is null or tenant = $9) as fits
from ledger.jobs
where $1::uuid is null or id < $1
order by id desc
limit $2
