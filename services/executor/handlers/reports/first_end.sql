-- When the first run of a tenant ended. $1: tenant. Called by executions.py.
select min(finished_at) from ledger.runs where tenant = $1
