-- What was fixed when the deployment was first opened.
select partitions, prefix from book.deployment
