-- Hours of partition $1 that can't be counted anew.
insert into ledger_next.run_hourly
select run_hourly.*
from ledger.run_hourly
join replay.hours_carried using (partition, hour)
where run_hourly.partition = $1 and ($2::bigint, $3::timestamptz) is not null
