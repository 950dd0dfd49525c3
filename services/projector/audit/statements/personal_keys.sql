-- Whose personal data has a key, or had one, of partition $1.
select job, key is not null as has_key from book.personal_keys where partition = $1
