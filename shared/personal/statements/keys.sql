-- The keys of these jobs; null: it was erased. $1 jobs
select job, key, tenant from book.personal_keys where job = any ($1::text[])
