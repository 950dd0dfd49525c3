-- Runs $1 (refs) have ended: nothing of them is brought forward any more.
delete from book.brought_forward where ref = any($1::text[])
