"""Opening a partition's log: how it stands, and the script that lets this incarnation be written to.

Whether it may be opened is for `shared.recovery` to find out, which has the archive to compare it with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal, cast

from shared.domain import ids
from shared.domain.events import LogOpened
from shared.domain.run import Status
from shared.eventlog.envelope import Recorded, encode, from_entry
from shared.eventlog.position import START, Position
from shared.eventlog.script import Script

if TYPE_CHECKING:
    from datetime import timedelta

    from redis.asyncio import Redis

    from shared.eventlog.keys import Keys

    Entry = tuple[bytes, dict[bytes, bytes]]  # as a client of bytes returns it

ACTOR = "system"
_SCANNED = 1_000  # members of `due` looked at in one round trip


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """How a partition's log stands.

    Attributes:
        incarnation: the server's, now.
        opened: the server's when the log was opened last; '' = never, or `meta` is lost.
        epoch: of the last opening.
        last_ms: commit time that none may fall behind.
        partitions: of the deployment; None = never opened.
        first: position of the oldest entry still there, None if there is none.
        tail: the newest entry, None if there is none.
        is_there: whether there is a stream: one that was trimmed to nothing is, and can be written to.
        now_ms: Redis TIME.
    """

    incarnation: str
    opened: str
    epoch: int
    last_ms: int
    partitions: int | None
    first: Position | None
    tail: Recorded | None
    is_there: bool
    now_ms: int

    @property
    def is_open(self) -> bool:
        """Whether `commit` would write to it: this very incarnation was opened, and the log is there."""
        return bool(self.opened) and self.opened == self.incarnation and self.is_there

    @property
    def tail_at(self) -> Position:
        """Position of the newest entry; START if there is none."""
        return START if self.tail is None else self.tail.position


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed:
    """A write side that was made anew, to be opened.

    Attributes:
        token: under which it was made.
        previous: epoch, pos and id of the archive's last event.
        at_ms: its commit time.
    """

    token: str
    previous: tuple[int, int, str]
    at_ms: int


async def look(redis: Redis, keys: Keys) -> LogState:
    """How the log stands now, in one round trip."""
    async with redis.pipeline(transaction=True) as pipe:
        pipe.info("replication")
        pipe.hmget(keys.meta, ["incarnation", "epoch", "last_ms", "partitions"])
        pipe.xrange(keys.log, count=1)
        pipe.xrevrange(keys.log, count=1)
        pipe.exists(keys.log)
        pipe.time()
        info, meta, first, last, is_there, time = await pipe.execute()
    opened, epoch, last_ms, partitions = (None if value is None else value.decode() for value in meta)
    return LogState(
        incarnation=info["master_replid"],
        opened=opened or "",
        epoch=int(epoch or 0),
        last_ms=int(last_ms or 0),
        partitions=None if partitions is None else int(partitions),
        first=Position.parse(first[0][0].decode()) if first else None,
        tail=from_entry(keys.partition, *last[0]) if last else None,
        is_there=bool(is_there),
        now_ms=time[0] * 1000 + time[1] // 1000,
    )


async def entry_at(redis: Redis, keys: Keys, position: Position) -> Recorded | None:
    """The log's entry at exactly this position, or None."""
    rows = await redis.xrange(keys.log, str(position), str(position))
    return from_entry(keys.partition, *cast("Entry", rows[0])) if rows else None


async def entries_after(redis: Redis, keys: Keys, position: Position, *, count: int) -> list[Recorded]:
    """The log's entries after a position, at most `count`; nobody is to write to it meanwhile."""
    rows = await redis.xrange(keys.log, f"({position}", "+", count=count)
    return [from_entry(keys.partition, *cast("Entry", row)) for row in rows or ()]


async def running(redis: Redis, keys: Keys) -> list[str]:
    """Members of `due` that are running runs: their workers may be alive, and waiting for Redis as we do."""
    found: list[str] = []
    cursor = 0
    while True:
        cursor, members = await redis.zscan(keys.due, cursor, match="run:*", count=_SCANNED)
        refs = [cast("bytes", member).decode() for member, _ in members]
        if refs:
            async with redis.pipeline(transaction=False) as pipe:
                for ref in refs:
                    pipe.hget(keys.aggregate(ref), "state")
                states = await pipe.execute()
            found += [ref for ref, state in zip(refs, states, strict=True) if _is_running(state)]
        if cursor == 0:
            return list(dict.fromkeys(found))


async def open_as(
    redis: Redis,
    keys: Keys,
    state: LogState,
    *,
    epoch: int,
    partitions: int,
    lease: timedelta,
    runs: list[str],
    chance: int,
    healed: Healed | None = None,
) -> Literal["OPENED", "MOVED", "ALREADY"]:
    """Open the log for `epoch`, if its tail is still the one in `state`, or what was made anew still stands.

    Args:
        redis: a client for commands.
        keys: of the partition.
        state: as it was compared with the archive.
        epoch: above every earlier one.
        partitions: of the deployment.
        lease: how long each of `runs` is left alone from now.
        runs: from `running`.
        chance: 74 random bits or more, for the event's id.
        healed: what was made anew; None if the log is to go on as it is.
    """
    event = _opened(state, healed, epoch=epoch, partitions=partitions)
    at_ms = max(state.last_ms, state.tail.at if state.tail else 0, healed.at_ms if healed else 0)
    args: list[str | bytes] = [
        f"rebuilt {healed.token}" if healed else str(state.tail_at) if state.tail else "",
        str(epoch),
        str(event.previous[1] + 1 if event.previous else 1),
        str(partitions),
        str(round(lease.total_seconds() * 1000)),
        ids.event_id(max(at_ms, state.now_ms), chance),
        LogOpened.__name__,
        str(LogOpened.VERSION),
        "log",
        "",
        "subject",
        str(at_ms),
        ACTOR,
        "",
        "",
        "",
        encode(event),
        *runs,
    ]
    reply = await _script()(redis, [keys.meta, keys.log, keys.due], args)
    return reply[0].decode()  # type: ignore[no-any-return]


def _opened(state: LogState, healed: Healed | None, *, epoch: int, partitions: int) -> LogOpened:
    if healed is not None:
        return LogOpened(epoch=epoch, reason="heal", previous=healed.previous, partitions=partitions)
    if state.tail is None:
        return LogOpened(epoch=epoch, reason="first", previous=None, partitions=partitions)
    previous = (*state.tail_at, state.tail.id)
    return LogOpened(epoch=epoch, reason="restart", previous=previous, partitions=partitions)


def _is_running(state: bytes | None) -> bool:
    return state is not None and json.loads(state).get("status") == Status.RUNNING


@cache
def _script() -> Script:
    return Script(resources.files("shared.eventlog").joinpath("open.lua").read_text(encoding="utf-8"))
