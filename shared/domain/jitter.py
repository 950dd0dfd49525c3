"""Jitter: by how much an occurrence fires later than its time, so that what shares a time doesn't share an instant.

It is drawn from job and time alone: whoever asks, and whenever, is told the same. An occurrence fires before the next
one's time, so that jitter never changes the order of two, and `scheduled_for` rises with `fires_at`.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.domain import ids

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.schedule import Schedule

JITTER_MAX_S = 86_400
_DRAWN_BITS = 64


def fires_at(schedule: Schedule, job_id: str, at: datetime, following: datetime | None) -> datetime:
    """When the occurrence at `at` fires: 0 to `jitter_seconds` later, in whole ms, before `following`.

    Args:
        schedule: of the job.
        job_id: of the job.
        at: the occurrence's time.
        following: the schedule's next occurrence, which is at least 1 ms later; None: there is none.
    """
    if not schedule.jitter_seconds:
        return at
    at_ms, most_ms = ids.to_ms(at), schedule.jitter_seconds * 1000
    if following is not None:
        most_ms = min(most_ms, ids.to_ms(following) - at_ms - 1)
    return at + timedelta(milliseconds=_drawn(job_id, at_ms) * (most_ms + 1) >> _DRAWN_BITS)


def _drawn(job_id: str, at_ms: int) -> int:
    """A number of 64 bits: multiplied by a range, and shifted back, it is spread evenly over that."""
    digest = hashlib.sha256(f"{job_id} {at_ms}".encode()).digest()
    return int.from_bytes(digest[: _DRAWN_BITS // 8])
