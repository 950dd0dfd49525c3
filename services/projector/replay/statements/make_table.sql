-- A table like the live one, without its indexes. Called by services/projector/replay/blueprint.py, which puts in {name}, {by}:
-- what it is partitioned by, and {options}.
create table ledger_next.{name} (like ledger.{name} including all excluding indexes) {by} {options}
