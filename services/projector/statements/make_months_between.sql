-- Makes the monthly partitions for events from $1 to $2 that are about to be imported, of every table that has them.
select book.make_months('book.events', month) + book.make_months('ledger.runs', month)
from generate_series(date_trunc('month', $1::timestamptz), $2::timestamptz, interval '1 month') as month
