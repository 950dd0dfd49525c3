-- The functions of schema $1.
select pg_get_functiondef(oid) from pg_proc where pronamespace = $1::regnamespace order by proname
