-- Lets the sequence of column $2 of table $1 (quoted) count on behind the greatest number that was copied; never back.
select pg_catalog.setval(s.seqrelid::regclass, m.greatest)
from (select max({column})::bigint as greatest from {table}) m
join pg_catalog.pg_sequence s on s.seqrelid = pg_catalog.pg_get_serial_sequence($1, $2)::regclass
where s.seqincrement > 0 and m.greatest <= s.seqmax
  and m.greatest > coalesce(pg_catalog.pg_sequence_last_value(s.seqrelid::regclass), s.seqmin - 1)
