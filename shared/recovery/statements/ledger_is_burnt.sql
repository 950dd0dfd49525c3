-- ledger_is_burnt
-- Whether the ledger has no run of partition $1, though there are jobs: it can't be asked which runs have ended.
select not exists (select from ledger.runs where partition = $1)
    and exists (select from book.snapshots where partition = $1)
