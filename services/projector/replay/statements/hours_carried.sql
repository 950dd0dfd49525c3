-- Hours of partition $1 up to that of $3, when the last event up to pos $2 was committed that was dropped; and those in
-- which there are events of runs that had begun before.
insert into replay.hours_carried (partition, hour)
select $1, hour from ledger.run_hourly where partition = $1 and hour <= date_trunc('hour', $3::timestamptz)
union
select distinct $1, date_trunc('hour', events.at)
from replay.runs_carried
join book.events on events.subject = 'run/' || runs_carried.id and events.partition = $1 and events.pos > $2
