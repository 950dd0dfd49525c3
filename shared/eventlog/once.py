"""What is done only once, under which digest: the same request again gets the answer that the first one had.

`commit` keeps each for a day. A log made again from the archive gets them from the events of that day: retries and what
follows on a run are known by their events, a request with an Idempotency-Key by the `cause` of what it wrote,
`key:<digest>:<fingerprint>`.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from shared.domain import ids
from shared.domain.events import RunQueued, RunRequested
from shared.eventlog.unit import ONCE_MS, Once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from shared.domain.events import Change
    from shared.eventlog.envelope import Recorded

REMEMBERED = timedelta(milliseconds=ONCE_MS)
_CAUSE = "key"
_FOLLOWS = frozenset(
    {RunQueued.__name__}
)  # on what a request does: of a cancelled run, the one that takes its place


class Key(NamedTuple):
    """An Idempotency-Key: digest of who uses it for what, fingerprint of what was asked (hex, both).

    `former` is the fingerprint as it was before it was keyed: what was asked then, and is asked again within a day.
    """

    digest: str
    fingerprint: str
    former: str = ""

    def is_for(self, fingerprint: str) -> bool:
        """Whether what was asked first is asked again."""
        return fingerprint in {self.fingerprint, self.former}

    @property
    def cause(self) -> str:
        """As the events written under it carry it."""
        return f"{_CAUSE}:{self.digest}:{self.fingerprint}"

    def once(self, answer: str) -> Once:
        """That this is answered once; `answer` is what the unit's last event is about (`job:<id>`, `run:<id>`)."""
        return Once(digest=self.digest, fingerprint=self.fingerprint, answer=answer)


def key_of(*scope: str, asked: str) -> Key:
    """The key of a request.

    What was asked may have been personal, and the fingerprint stands in events: it is keyed by the client's own key, so
    that only who has that can tell whether it is the fingerprint of what he thinks.

    Args:
        scope: who asks, for what, under which key of theirs.
        asked: the rest of the request, in one spelling.
    """
    secret = "\x1f".join((_CAUSE, *scope))
    fingerprint = hmac.new(secret.encode(), asked.encode(), hashlib.sha256).hexdigest()
    return Key(digest=_sha256(secret), fingerprint=fingerprint, former=_sha256(asked))


def part_of(key: Key, index: int) -> Key:
    """The key of one of the many things that are asked for under `key`, which stand in the same order each time."""
    own = key_of(key.digest, str(index), asked=key.fingerprint)
    return own._replace(former=_sha256(key.former))


def of_retry(of: str, *, answer: str) -> Once:
    """That the run `of` is retried once, by the run `answer`."""
    return Once(digest=_sha256(f"retry\x1f{of}"), fingerprint="retry", answer=answer)


def of_follower(of: str, job_id: str, *, answer: str) -> Once:
    """That a job follows once on the run `of`, by the run `answer`."""
    return Once(digest=_sha256(f"chain\x1f{of}\x1f{job_id}"), fingerprint="chain", answer=answer)


def of_event(event: Recorded, *, now: datetime) -> Iterator[Once]:
    """What the commit of this event kept, with the time it has left at `now`.

    The position kept is that of the last event of its unit. All events of a unit have the same cause: what comes of the
    last of them, in order, is what was kept; but for what only follows on it.
    """
    left_ms = ONCE_MS - (ids.to_ms(now) - event.at)
    if left_ms <= 0:
        return
    if (retry := of_change(event.change(), now=now)) is not None:
        yield retry
    kind, _, rest = event.cause.partition(":")
    if kind == _CAUSE and event.type not in _FOLLOWS:
        kept = Key(*rest.split(":")).once(event.subject.replace("/", ":", 1))
        yield replace(kept, ttl_ms=left_ms)


def of_change(change: Change, *, now: datetime) -> Once | None:
    """What the commit of this event kept of it, with the time it has left at `now`; None if nothing, or no more.

    Its position is that of the event itself, which is the last of its unit.
    """
    event = change.event
    if not isinstance(event, RunRequested) or event.of is None or event.trigger not in {"retry", "chain"}:
        return None
    left_ms = (event.requested_at + REMEMBERED - now) // timedelta(milliseconds=1)
    if left_ms <= 0:
        return None
    run_id = change.subject.removeprefix("run:")
    if event.trigger == "chain":
        return replace(of_follower(event.of, event.job_id, answer=run_id), ttl_ms=left_ms)
    return replace(of_retry(event.of, answer=run_id), ttl_ms=left_ms)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
