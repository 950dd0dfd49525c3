-- The jobs of a partition that were erased. $1 partition
select job from book.personal_keys where partition = $1 and key is null
