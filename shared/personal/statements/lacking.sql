-- Those of these jobs that have no row. $1 jobs
select job
from unnest($1::text[]) as copied (job)
where not exists (select from book.personal_keys where personal_keys.job = copied.job)
