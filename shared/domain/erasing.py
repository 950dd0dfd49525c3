"""Erasing a job's personal data: what goes out of the book though nothing is ever taken out of it.

Values that a job type marks as personal stand sealed wherever the job is told of, by a key of the job's own. The event
says that they are to be read by nobody any more; whoever archives it destroys the key. A job that nobody can read any
more can't run either: it is deleted with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.events import Change, PersonalDataErased

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.commands import EraseJob
    from shared.domain.job import Job


def erased(job: Job, command: EraseJob, now: datetime) -> list[Change]:
    """The erasure of a job that is deleted, or about to be by the same decision; already so is no change."""
    if job.erased is not None:
        return []
    event = PersonalDataErased(by=command.by, reason=command.reason, erased_at=now)
    return [Change(subject=f"job:{job.id}", event=event)]
