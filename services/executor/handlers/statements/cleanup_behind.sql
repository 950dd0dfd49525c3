-- Those of the jobs $1 (refs), each advanced last at pos $2, that have no snapshot as new as that.
select wanted.ref
from unnest($1::text[], $2::bigint[]) as wanted (ref, pos)
left join book.snapshots on snapshots.ref = wanted.ref
where snapshots.pos is null or snapshots.pos < wanted.pos
order by wanted.ref
limit 1
