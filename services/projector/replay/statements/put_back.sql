-- Rows that were set aside back into {table}: {columns}, those of which {condition} is true.
insert into {table} ({columns}) select {columns} from aside where {condition}
