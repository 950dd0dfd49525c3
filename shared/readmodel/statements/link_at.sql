-- The link of the chain at position $2 of partition $1, which may be the last one that was dropped; no row: it isn't
-- known. Called by shared/readmodel/cuts.py.
select chain from book.events where partition = $1 and pos = $2
union all
select chain from book.archive_cuts where partition = $1 and pos = $2
limit 1
