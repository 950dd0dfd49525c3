-- The keys of these jobs, held against an erasure for as long as the transaction takes. $1 jobs
select job, key, tenant from book.personal_keys where job = any ($1::text[]) order by job for share
