-- Bytes of the database on disk: what a progress bar goes by. Called by shared/backup/copying.py.
select pg_database_size(current_database())
