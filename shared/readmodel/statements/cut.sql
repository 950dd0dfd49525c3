-- Where the archive of partition $1 begins: its newest cut.
select partition, epoch, pos, id, at, chain, run_id, cut_at
from book.archive_cuts
where partition = $1
order by pos desc
limit 1
