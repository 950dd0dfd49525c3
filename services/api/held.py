"""A job as the write model holds it: never older than what the client has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api import door
from shared.domain.job import Job, Status

if TYPE_CHECKING:
    from services.api.writes import Writes
    from shared.eventlog.log import EventLog
    from shared.eventlog.snapshot import Snapshot


async def held_job(log: EventLog, write: Writes, job_id: str) -> tuple[Job, Snapshot]:
    """The job, and the snapshot that it is in.

    Raises:
        Problem: 404 if there is none, or it is another tenant's, or deleted.
    """
    ref = f"job:{job_id}"
    held = (await log.load(ref))[ref]
    await write.refuse_foreign(held)
    if not isinstance(held.state, Job) or held.state.status is Status.DELETED:
        raise door.no_such("job")
    return held.state, held
