-- A replay begins: of program $1, with cold copies $2.
insert into replay.build (made_by, cold, migrated, retained)
select
    $1, $2, (select count(*) from book.migrations),
    concat_ws(' ', (select max(cut_at) from book.archive_cuts), (select max(cut_at) from book.run_cuts))
