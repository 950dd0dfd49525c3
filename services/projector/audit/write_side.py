"""What an audit reads from Redis: pages, each of one moment, which is a position of the log.

Nothing but `commit` and `open_log` changes states, due index and work streams, and each moves the position; what
heartbeats, claims and the timer's postponing do is no change of what is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from services.projector.audit.standing import Entry, Seen, Work
from shared.domain import kinds
from shared.eventlog.envelope import Recorded, from_entry
from shared.eventlog.position import Position
from shared.eventlog.snapshot import FIELDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from redis.asyncio import Redis

    from shared.eventlog.keys import Keys

AT_ONCE = 200  # aggregates a page: 400 commands, which the server runs without a break
ENTRIES = 1_000  # of a stream a page
SCANNED = 1_000  # keys a round trip
_KINDS = frozenset(kind.name for kind in kinds.ALL)


class Names(NamedTuple):
    """What Redis has of a partition: refs of aggregates, and work streams."""

    refs: set[str]
    work: set[Work]


class WriteSide:
    """A partition in Redis; `keys` names its keys."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def position(self) -> Position | None:
        """The log's position; None if there is no log."""
        meta: Any = await self._redis.hmget(self._keys.meta, ["epoch", "pos"])
        return _position(meta)

    async def first(self) -> Position | None:
        """The position of the oldest entry that is still there; None if there is none."""
        rows: Any = await self._redis.xrange(self._keys.log, count=1)
        return Position.parse(rows[0][0].decode()) if rows else None

    async def log(self, after: Position, upto: Position) -> list[Recorded]:
        """The next entries after one position, none after another.

        Raises:
            ValueError: one of them is no event.
        """
        rows: Any = await self._redis.xrange(self._keys.log, f"({after}", str(upto), count=ENTRIES)
        return [from_entry(self._keys.partition, *row) for row in rows]

    async def due(self) -> set[str]:
        """Members of the due index."""
        return {member.decode() async for member, _ in self._redis.zscan_iter(self._keys.due, count=SCANNED)}

    async def page(self, refs: Sequence[str]) -> tuple[Position | None, int, list[Seen]]:
        """Aggregates at one moment: the log's position, Redis TIME (ms), and what there is of each."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(self._keys.meta, ["epoch", "pos"])
            pipe.time()
            for ref in refs:
                pipe.hmget(self._keys.aggregate(ref), list(FIELDS))
                pipe.zscore(self._keys.due, ref)
            meta, (seconds, micros), *found = await pipe.execute()
        seen = [
            Seen._make((ref, *fields, None if score is None else int(score)))
            for ref, fields, score in zip(refs, found[::2], found[1::2], strict=True)
        ]
        return _position(meta), seconds * 1000 + micros // 1000, seen

    async def copies_of(self, job_ids: Sequence[str]) -> list[str]:
        """Those of these jobs of whose keys there are copies."""
        found: list[str] = []
        for first in range(0, len(job_ids), AT_ONCE):
            some = job_ids[first : first + AT_ONCE]
            copies: Any = await self._redis.hmget(self._keys.personal, some)
            found += [job_id for job_id, copy in zip(some, copies, strict=True) if copy is not None]
        return found

    async def entries(self, work: Work, after: str) -> tuple[Position | None, list[Entry]]:
        """The next entries of a work stream after an id, and the log's position at that moment."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(self._keys.meta, ["epoch", "pos"])
            pipe.xrange(self._keys.work(*work), f"({after}", "+", count=ENTRIES)
            meta, rows = await pipe.execute()
        return _position(meta), [_entry(*row) for row in rows]

    async def have(self, places: Iterable[tuple[Work, str]]) -> tuple[Position | None, list[bool]]:
        """Whether the work streams have entries of these ids, and the log's position at that moment."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(self._keys.meta, ["epoch", "pos"])
            for work, entry in places:
                pipe.xrange(self._keys.work(*work), entry, entry)
            meta, *found = await pipe.execute()
        return _position(meta), [bool(rows) for rows in found]


async def names(redis: Redis, keys: Sequence[Keys]) -> dict[int, Names]:
    """What Redis has under the deployment's prefix, by partition; what comes and goes meanwhile may be missing."""
    found = {each.partition: Names(set(), set()) for each in keys}
    by_base = {each.base: found[each.partition] for each in keys}
    async for name in _scanned(redis, keys[0].prefix):
        base, _, rest = name.partition("}:")
        known = by_base.get(base + "}")
        kind, _, more = rest.partition(":")
        if known is None:
            continue
        if kind in _KINDS:
            known.refs.add(rest)
        elif kind == "work":
            queue, _, priority = more.rpartition(":")
            known.work.add(Work(queue, int(priority)))
    return found


async def _scanned(redis: Redis, prefix: str) -> AsyncIterator[str]:
    async for name in redis.scan_iter(match=f"{prefix}:*", count=SCANNED):
        yield name.decode()


def _position(meta: Sequence[bytes | None]) -> Position | None:
    epoch, pos = meta
    return None if epoch is None or pos is None else Position(int(epoch), int(pos))


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    return Entry(entry_id.decode(), fields.get(b"run", b"").decode(), fields.get(b"job", b"").decode())
