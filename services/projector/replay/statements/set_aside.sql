-- All rows of {table}, until the transaction ends.
create temp table aside on commit drop as select * from {table}
