-- Inserts a batch from its staging table; rows whose key, or other unique value, is there already stay as they are.
insert into {table} ({columns}) overriding system value
select {columns} from pg_temp.daybook_batch
on conflict do nothing
