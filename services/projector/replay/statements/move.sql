-- Partition $1 goes from pos $2 to epoch $3 and pos $4.
update replay.partitions set epoch = $3, pos = $4 where partition = $1 and pos = $2
