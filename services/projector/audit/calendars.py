"""The ledger of calendars, row by row, against the fold of the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.projector import calendar_rows
from services.projector.audit.ledgers import compare
from services.projector.audit.lines import Invariant
from shared.domain.calendar import Calendar, ref_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

    from services.projector.audit.fold import Fold
    from services.projector.audit.ledgers import Refusals
    from services.projector.audit.lines import Findings

COLUMNS = (
    "tenant", "name", "partition", "revision", "description", "dates", "weekdays", "timezone", "created_at",
    "updated_at", "updated_by", "deleted", "epoch", "pos",
)  # fmt: skip


def check(
    findings: Findings,
    fold: Fold,
    refusals: Refusals,
    records: Iterable[asyncpg.Record],
    partition: int,
) -> None:
    """Look at all rows of ledger.calendars of a partition."""
    told = {ref_of(record["tenant"], record["name"]): dict(record) for record in records}
    folded = {
        ref: dict(zip(COLUMNS, calendar_rows.stored(*other, partition), strict=True))
        for ref, other in fold.others.items()
        if isinstance(other.state, Calendar)
    }
    for ref in sorted(told.keys() | folded.keys()):
        if not fold.knows(ref):
            findings.unchecked(Invariant.CALENDARS)
            refusals.excuse("calendars", ref)
        else:
            compare(
                findings, Invariant.CALENDARS, refusals, ("calendars", ref), folded.get(ref), told.get(ref)
            )
