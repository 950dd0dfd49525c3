-- Deletes ended runs among the next $5 rows of ledger.runs: after id $1, with times in their ids before $2. Those that ended
-- before $2 as one of $3, and repeat no run that is still there. $4: only count them, but for those of the months from $6
-- to $7, which would have been dropped; what would go itself keeps no retry then. Returns the last id looked at, and how
-- many went.
with page as materialized (
    select id, id_at, status, finished_at, trigger, of
    from ledger.runs
    where id > $1 and id_at < $2
    order by id
    limit $5
), going as materialized (
    select id, id_at
    from page
    where finished_at < $2 and status = any($3::text[])
      and not (
        trigger = 'retry' and of is not null
        and exists (
            select from ledger.runs as original
            where original.id = page.of::uuid
              and not ($4::boolean and original.finished_at < $2 and original.status = any($3::text[]))
        )
      )
      and not exists (
        select from unnest($6::timestamptz[], $7::timestamptz[]) as months (since, until)
        where page.id_at >= months.since and page.id_at < months.until
      )
), gone as (
    delete from ledger.runs
    using going
    where not $4::boolean and runs.id = going.id and runs.id_at = going.id_at
)
select (select id from page order by id desc limit 1) as last, (select count(*) from going) as went
