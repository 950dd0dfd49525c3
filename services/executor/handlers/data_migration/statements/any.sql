-- Whether a table has any row.
select exists (select from {table})
