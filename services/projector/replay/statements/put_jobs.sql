-- Jobs $1 into their ledger, sorted; {columns} are those that are written.
insert into ledger_next.jobs ({columns})
select {columns} from replay.jobs where id = any($1::uuid[]) order by id
