-- The rows of ledger.calendars of partition $1, in the order of the columns that services/projector/calendar_rows.py has.
-- Called by services/projector/audit/archive.py.
select
    tenant, name, partition, revision, description, dates, weekdays, timezone, created_at, updated_at, updated_by, deleted,
    epoch, pos
from ledger.calendars
where partition = $1
