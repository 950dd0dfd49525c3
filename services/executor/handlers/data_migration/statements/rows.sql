-- The rows between two keys (see reach.sql), or all; for COPY, so the keys come by the settings of `window.sql`.
select {columns} from {table} as t where {between}
