-- How many keys a partition has. $1 partition
select count(*) from book.personal_keys where partition = $1 and key is not null
