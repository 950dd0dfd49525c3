-- The state of job:<id> $1 as text.
select state from book.snapshots where ref = $1
