-- Calendars of partition $1 of which nothing was told after pos $2.
insert into ledger_next.calendars
select calendars.* from ledger.calendars where partition = $1 and pos <= $2 and $3::timestamptz is not null
