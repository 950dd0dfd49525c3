-- The end of a group's statement, which is its own transaction: fails on purpose, by a division by zero, if not all ($1)
-- checkpoints have moved, and so leaves nothing of it behind.
select 1 / (count(*) = $1)::integer from moved
