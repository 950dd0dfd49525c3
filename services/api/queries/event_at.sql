-- The id of the archived event at a position, if there is one: another epoch may have another event there.
select id
from book.events
where partition = $1 and epoch = $2 and pos = $3
