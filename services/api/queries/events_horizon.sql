-- How far each partition is archived, and the last pos in it before the times $1 and $2 (null where there is no time).
select
    partition,
    epoch,
    pos,
    case when $1::timestamptz is not null then book.pos_before(partition, $1) end as before_since,
    case when $2::timestamptz is not null then book.pos_before(partition, $2) end as before_until
from book.checkpoints
