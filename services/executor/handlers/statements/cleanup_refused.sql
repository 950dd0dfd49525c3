-- How many rows a ledger has refused of the events of partition $1 up to pos $2.
select count(*) from book.projection_errors where partition = $1 and pos <= $2
