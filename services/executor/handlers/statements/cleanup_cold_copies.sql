-- The ranges of partition $1 beyond pos $2 that cold copies hold, in order, as far as they are of this very archive:
-- the link of a range's last event is the one that stands here, and with it all that went before.
select copies.first_pos, copies.last_pos
from book.cold_copies as copies
join book.events on events.partition = copies.partition and events.pos = copies.last_pos
where copies.partition = $1 and copies.last_pos > $2 and events.epoch = copies.last_epoch and events.chain = copies.chain
order by copies.first_pos, copies.last_pos
