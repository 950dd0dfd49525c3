-- Before when rows of runs that ended in each status may have been deleted.
select status, max(finished_before) as finished_before
from book.run_cuts, unnest(statuses) as status
group by status
