"""What is done only once, under which digest: the same request again gets the answer that the first one had.

`commit` keeps each for a day. A log made again from the archive gets them from the events of that day.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.domain.events import RunRequested
from shared.eventlog.unit import ONCE_MS, Once

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.events import Change

REMEMBERED = timedelta(milliseconds=ONCE_MS)


def of_retry(of: str, *, answer: str) -> Once:
    """That the run `of` is retried once, by the run `answer`."""
    digest = hashlib.sha256(f"retry\x1f{of}".encode()).hexdigest()
    return Once(digest=digest, fingerprint="retry", answer=answer)


def of_change(change: Change, *, now: datetime) -> Once | None:
    """What the commit of this event kept of it, with the time it has left at `now`; None if nothing, or no more.

    Its position is that of the event itself, which is the last of its unit.
    """
    event = change.event
    if not isinstance(event, RunRequested) or event.trigger != "retry" or event.of is None:
        return None
    left_ms = (event.requested_at + REMEMBERED - now) // timedelta(milliseconds=1)
    if left_ms <= 0:
        return None
    kept = of_retry(event.of, answer=change.subject.removeprefix("run:"))
    return Once(digest=kept.digest, fingerprint=kept.fingerprint, answer=kept.answer, ttl_ms=left_ms)
