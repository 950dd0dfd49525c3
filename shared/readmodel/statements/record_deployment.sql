-- Fixes partitions $1 and prefix $2, at the first start only.
insert into book.deployment (partitions, prefix) values ($1, $2) on conflict (one) do nothing
