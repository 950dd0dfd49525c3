-- The key, as texts, of the last row of the next batch: at most $1 rows; no row: there are none left.
select array[{texts}]::text[] as key
from (select {keys} from {table} as t where {after} order by {order} limit $1) as batch
order by {back}
limit 1
