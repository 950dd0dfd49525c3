"""Permits of concurrency keys: in Redis, in the partition of the key, wherever the runs stand that share it.

A run takes one between its claim and its start, its heartbeats keep it, and its end gives it back. What makes them safe
is the log, not a clock: a permit goes with the entry of the work stream that its run was claimed by, so that whoever
comes late can't give back, or take over, what a later start holds; and one that nobody has shown for a while is given
back only after its run's state has said that it isn't at work (`handover`).
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from shared.domain import apikey, ids
from shared.eventlog.script import Call, Script, called

if TYPE_CHECKING:
    from datetime import timedelta

    from shared.domain.run import Run
    from shared.domain.spec import Concurrency
    from shared.eventlog.keys import Keys
    from shared.eventlog.log import EventLog

KEPT = "0-0"  # the entry of a permit that is kept for a run which has waited; earlier than any
KEPT_MS = 10_000  # for its way to an executor with a free slot; later, it asks as all others do, before who came later
LEASES = 2  # that a permit stands unseen: heartbeats come each third of a lease, so that few are looked into in vain


class Unseen(NamedTuple):
    """A permit that nobody has shown for a while, and the entry its run came by."""

    run: str
    entry: str


class Answer(NamedTuple):
    """What came of asking for a permit.

    Attributes:
        outcome: `stale`: the run has come by a later entry; `closed`: the partition was opened a moment ago.
        again_ms: until one may ask again (closed).
        called: runs that have waited, for which permits are kept now: they are to be queued.
        unseen: permits that may not be anybody's any more.
    """

    outcome: Literal["granted", "stale", "closed", "refused"]
    again_ms: int = 0
    called: tuple[str, ...] = ()
    unseen: tuple[Unseen, ...] = ()


class Permits:
    """The permits of all keys; `lease`: how long a start holds its run without a heartbeat."""

    def __init__(self, log: EventLog, lease: timedelta) -> None:
        self._log = log
        self._times = times_of(lease)
        self._script = Script(source())

    async def take(self, run: Run, of: Concurrency, entry: str) -> Answer:
        """Ask for a permit for a run that was claimed by `entry`; twice is as once."""
        since = "" if run.hold is None else str(ids.to_ms(run.hold.since))
        outcome, *more = await self._call(of, "take", run.id, entry, str(of.limit), since)
        match outcome:
            case b"closed":
                return Answer("closed", again_ms=more[0])
            case b"refused":
                names = [each.decode() for each in more[1]]
                unseen = tuple(map(Unseen._make, zip(names[::2], names[1::2], strict=True)))
                return Answer("refused", called=_runs(more[0]), unseen=unseen)
            case _:
                return Answer(outcome.decode())

    async def wait(self, run: Run, of: Concurrency) -> tuple[str, ...]:
        """Have a held run stand in line; returns the runs for which permits are kept now, maybe itself."""
        assert run.hold is not None  # noqa: S101 - it is held by a limit
        since = str(ids.to_ms(run.hold.since))
        return _runs(await self._call(of, "wait", run.id, str(of.limit), since))

    async def free(self, run_id: str, of: Concurrency, upto: str, *, over: bool) -> tuple[str, ...]:
        """Give a run's permit back, unless it was taken by an entry after `upto`; returns as `wait`.

        Args:
            run_id: the run.
            of: its limit.
            upto: position of an entry.
            over: the run has ended, and waits no more.
        """
        return _runs(await self._call(of, "free", run_id, upto, str(of.limit), "1" if over else "0"))

    async def keep(self, of: Concurrency, unseen: Unseen) -> None:
        """Have a permit stand as if it had just been shown."""
        await self._call(of, "keep", unseen.run, unseen.entry)

    async def _call(self, of: Concurrency, *args: str) -> Any:
        what, *more = args
        names = keys_of(self._log.keys(partition_of(of.pool, self._log.partitions)), of.pool)
        (reply,) = await called(self._log.wire, [Call(self._script, names, [what, *self._times, *more])])
        if isinstance(reply, Exception):
            raise reply
        return reply


def partition_of(pool: str, partitions: int) -> int:
    """Where a pool stands."""
    return apikey.partition_of(pool, partitions)


def keys_of(keys: Keys, pool: str) -> list[str]:
    """KEYS of the script; `keys` are those of the pool's partition."""
    return [keys.permits(pool), keys.holders(pool), keys.waiting(pool), keys.meta]


def times_of(lease: timedelta) -> tuple[str, str]:
    """ARGV 2 and 3 of the script."""
    return str(round(lease.total_seconds() * 1000) * LEASES), str(KEPT_MS)


@cache
def source() -> str:
    """The script."""
    return resources.files("shared.eventlog").joinpath("permits.lua").read_text(encoding="utf-8")


def _runs(names: list[bytes]) -> tuple[str, ...]:
    return tuple(name.decode() for name in names)
