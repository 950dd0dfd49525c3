-- Whose job it is. $1: its id. Called by executions.py.
select tenant from ledger.jobs where id = $1::uuid
