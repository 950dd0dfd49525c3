-- How far each partition is archived, and when its last event was committed (null: there is none).
select partition, epoch, pos, at from book.checkpoints
