-- The statements that empty a database: all schemas that are not the system's go with what is in them.
-- Called by shared/backup/restoring_database.py, in the transaction that fills it again.
select statement from (
    select 1 as step, format('drop schema %I cascade', nspname) as statement
    from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
    union all
    select 2, 'create schema public'
) as all_of_them
order by step, statement
