-- The next jobs of a partition that have a row, and which of them were erased. $1 partition · $2 after this job · $3 at most
select job, key is null as is_erased from book.personal_keys where partition = $1 and job > $2 order by job limit $3
