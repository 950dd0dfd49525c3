-- Notes a migration as applied, with the hash of its file: an applied file that has changed is refused later.
-- $1 text: name of the file.  $2 text: SHA-256 of it, hex.
-- Called by shared/readmodel/database.py, in the transaction that applies it.
insert into book.migrations (name, sha256) values ($1, $2)
