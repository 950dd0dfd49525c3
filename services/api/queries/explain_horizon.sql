-- Of partition $1: the last pos before the time $2.
select book.pos_before($1, $2) as pos
