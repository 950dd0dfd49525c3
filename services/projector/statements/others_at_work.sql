-- How many connections of services there are to this database: an import must be alone with the archive.
select count(*) from pg_stat_activity where datname = current_database() and application_name = 'daybook'
