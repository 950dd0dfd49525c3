-- A partition, {name}, of a table like the live one, {parent}, for {range}, with {options}.
create table ledger_next.{name} partition of ledger_next.{parent} {range} {options}
