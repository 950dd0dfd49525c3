-- The statement that keeps table $2 of schema $1 from being dropped or rewritten until the transaction ends.
-- Called by shared/backup/copying.py.
select format('lock table %I.%I in access share mode', $1::text, $2::text)
