-- How far the partitions are.
select partition, begins, epoch, pos, upto, events from replay.partitions order by partition
