-- All keys that there are.
select job, tenant, key from book.personal_keys where key is not null order by job
