-- Whether more than $3 events of job $1's own story stand above pos $2.
select count(*) > $3 as is_long
from (
    select
    from book.events
    where about = $1 and pos > $2
    order by pos
    limit $3 + 1
) as story
