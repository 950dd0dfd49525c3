-- Strikes out the cold copy whose place is $1, or ends in /$1.
delete from book.cold_copies
where place = $1 or right(place, length($1) + 1) = '/' || $1
