-- A row that its table doesn't take: partition, epoch, pos of the last event in it, model, key, SQLSTATE, message.
insert into replay.projection_errors (partition, epoch, pos, model, key, sqlstate, message, at)
select $1, $2, $3, $4, $5, $6, $7, coalesce((select at from book.events where partition = $1 and pos = $3), now())
on conflict do nothing
