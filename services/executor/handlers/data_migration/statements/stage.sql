-- Makes the place where a batch waits to be inserted; this session's, and empty again after each transaction.
create temporary table daybook_batch ({columns}) on commit delete rows
