-- How far the partitions are.
select partition, begins, epoch, pos, upto from replay.partitions order by partition
