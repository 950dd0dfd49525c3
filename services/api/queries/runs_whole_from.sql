-- Before when rows of runs that had ended may have been deleted; null: none was.
select max(finished_before) as at
from book.run_cuts
