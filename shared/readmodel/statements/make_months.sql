-- Makes the monthly partitions that are missing, of every table that has them; returns how many.
select book.make_months('book.events', now()) + book.make_months('ledger.runs', now())
