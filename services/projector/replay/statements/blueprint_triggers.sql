-- The triggers of the tables of schema $1.
select pg_get_triggerdef(pg_trigger.oid)
from pg_trigger
join pg_class on pg_class.oid = tgrelid
where relnamespace = $1::regnamespace and not tgisinternal and tgparentid = 0
order by tgname
