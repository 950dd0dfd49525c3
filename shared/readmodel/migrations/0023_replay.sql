-- How often the ledgers were made anew and put in place of those that were live (`daybook replay`). A projector moves a
-- checkpoint only if it knows this number: what it remembers of jobs and runs is from ledgers that may have been wrong, and
-- its statement may have found the tables by their names before they were others.
alter table book.checkpoints add column ledgers bigint not null default 0;
