-- Those of these jobs whose keys stand here, and not since a moment ago: a job's first commit comes after its key. $1 jobs
select job from book.personal_keys where job = any ($1::text[]) and key is not null and made_at < now() - interval '1 hour'
