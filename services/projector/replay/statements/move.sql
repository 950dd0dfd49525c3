-- Partition $1 goes from pos $2 to epoch $3 and pos $4, by $5 events.
update replay.partitions
set epoch = $3, pos = $4, events = events + $5
where partition = $1 and pos = $2
