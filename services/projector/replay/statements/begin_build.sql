-- A replay begins: of program $1, with cold copies $2.
insert into replay.build (made_by, cold, migrated) select $1, $2, count(*) from book.migrations
