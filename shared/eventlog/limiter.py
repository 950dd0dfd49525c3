"""Limiters: how often something may be done, counted in Redis, so that all processes count as one."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.domain import apikey
from shared.eventlog.script import Call, Script, called

if TYPE_CHECKING:
    from shared.eventlog.log import EventLog
    from shared.rate import Rate


class Grant(NamedTuple):
    """What a limiter says.

    Attributes:
        wait_s: until the next is granted; 0: this one is.
        left: how many more are granted at once.
        full_s: until all of the limit is there again.
    """

    rate: Rate
    wait_s: float
    left: int
    full_s: float


class Turn(NamedTuple):
    """When somebody may do it: `granted`, it is theirs, else they are to ask again then."""

    granted: bool
    wait_s: float


class Limiters:
    """All limiters; each is one key and one call of `limit.lua`, and one key more where those that are refused wait."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._script = Script(
            resources.files("shared.eventlog").joinpath("limit.lua").read_text(encoding="utf-8")
        )

    async def take(self, kind: str, who: str, rate: Rate) -> Grant:
        """Count one more by `who` under the limit `kind`, if there is room.

        Raises:
            Exception: what `faults.is_broken` knows, where Redis doesn't answer.
        """
        wait, left, full = await self._call(who, (kind,), rate.interval_us, str(rate.most))
        return Grant(rate, wait / 1e6, left, full / 1e6)

    async def turn(self, kind: str, what: str, rate: Rate, *, patience_s: float, had: bool) -> Turn:
        """Count one more of `what`, evenly spaced: at once, within `patience_s`, or when its turn has come.

        Args:
            kind: of limit.
            what: is limited.
            rate: so many in a window; never several at once.
            patience_s: how long it can wait for what it is granted.
            had: it had a turn, and comes back at it.

        Raises:
            Exception: as `take`.
        """
        patience_us = f"{patience_s * 1e6:.0f}"
        args = (rate.interval_us, "1", patience_us, "1" if had else "0")
        outcome, wait = await self._call(what, (kind, f"{kind}-turns"), *args)
        return Turn(outcome == b"granted", wait / 1e6)

    async def _call(self, who: str, kinds: tuple[str, ...], interval_us: float, *args: str) -> Any:
        digest = hashlib.sha256(who.encode()).hexdigest()
        keys = self._log.keys(apikey.partition_of(digest, self._log.partitions))
        names = [keys.limiter(kind, digest[:32]) for kind in kinds]
        (reply,) = await called(self._log.wire, [Call(self._script, names, [f"{interval_us:.3f}", *args])])
        if isinstance(reply, Exception):
            raise reply
        return reply
