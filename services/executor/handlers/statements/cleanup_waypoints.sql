-- States of jobs of partition $1 before pos $2, after which its archive begins: nothing can be folded onto them any more.
delete from book.waypoints where partition = $1 and pos < $2
