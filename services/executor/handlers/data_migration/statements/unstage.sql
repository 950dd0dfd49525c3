-- Ends the use of stage.sql for a table.
drop table if exists pg_temp.daybook_batch
