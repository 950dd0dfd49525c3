-- Which database a session is in: the same for two URLs that lead to one.
select pg_catalog.pg_postmaster_start_time() as started_at, d.oid::bigint as oid, d.datname as name
from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()
