-- The next keys of a partition, held against an erasure; null: it was erased. $1 partition · $2 after this job · $3 at most
select job, key, tenant from book.personal_keys where partition = $1 and job > $2 order by job limit $3 for share
