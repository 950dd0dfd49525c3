"""Reading the log in order: every reader checks that what comes next is what must come next.

The next entry is pos + 1 of the same epoch, or a LogOpened whose `previous` is where the reader stands. Anything
else is a hole (trimmed, healed) or a rewind, and must not be passed in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.domain.events import LogOpened
from shared.eventlog.cluster_wire import wire_to
from shared.eventlog.envelope import Recorded, decode, from_entry, from_pairs
from shared.eventlog.keys import Keys
from shared.eventlog.position import START, Position

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.asyncio import Redis


class Hole(Exception):  # noqa: N818 - a finding
    """What comes next in the log doesn't follow the reader's position."""

    def __init__(self, partition: int, after: Position, found: Position) -> None:
        """Say between which two positions it gapes."""
        super().__init__(f"partition {partition}: {found} in the log doesn't follow {after}")
        self.partition = partition
        self.after = after
        self.found = found


class LogReader:
    """Reads the partitions' logs.

    Args:
        redis: a client from `connection.connect(blocking=True)`: reads may block.
        prefix: what every key begins with.
        partitions: of the deployment.
    """

    def __init__(self, redis: Redis, *, prefix: str, partitions: int) -> None:
        self._redis = redis
        self._keys = [Keys(prefix, partition) for partition in range(partitions)]
        self._wires = [
            wire_to(redis, blocking=True) for _ in self._keys
        ]  # a read that blocks keeps no other waiting

    def close(self) -> None:
        """Hang up."""
        for wire in self._wires:
            wire.close()

    async def read(
        self,
        partition: int,
        after: Position,
        after_id: str,
        *,
        count: int = 2000,
        block_ms: int | None = None,
    ) -> list[Recorded]:
        """The events after a position, oldest first.

        Args:
            partition: whose log.
            after: where the reader stands; START before the first event.
            after_id: id of the event there.
            count: at most so many.
            block_ms: wait so long for one if there is none (≤ 2,000); None doesn't wait.

        Raises:
            Hole: the first of them doesn't follow `after`.
        """
        name = self._keys[partition].log
        blocking = ("BLOCK", block_ms) if block_ms else ()
        (reply,) = await self._wires[partition].replies(
            ("XREAD", "COUNT", count, *blocking, "STREAMS", name, str(after))
        )
        if not reply:
            return []
        [[_, found]] = reply
        entries = [from_pairs(partition, *entry) for entry in found]
        check_order(partition, after, after_id, entries)
        return entries

    async def tail(self, partition: int) -> Recorded | None:
        """The newest entry, or None if there is no log."""
        rows: Any = await self._redis.xrevrange(self._keys[partition].log, count=1)
        return from_entry(partition, *rows[0]) if rows else None

    async def trim(self, partition: int, below: Position) -> int:
        """Drop entries before `below`, about; whole nodes of the stream only. Returns how many went."""
        return int(await self._redis.xtrim(self._keys[partition].log, minid=str(below), approximate=True))

    async def length(self, partition: int) -> int:
        """Entries in the stream."""
        return int(await self._redis.xlen(self._keys[partition].log))


def check_order(partition: int, after: Position, after_id: str, entries: Iterable[Recorded]) -> None:
    """Check that each of `entries` follows the one before it, the first one `after`.

    Raises:
        Hole: one doesn't.
    """
    for entry in entries:
        follows = entry.position == Position(after.epoch, after.pos + 1) and after != START
        if not follows and not _opens_after(entry, after, after_id):
            raise Hole(partition, after, entry.position)
        after, after_id = entry.position, entry.id


def _opens_after(entry: Recorded, after: Position, after_id: str) -> bool:
    if entry.type != LogOpened.__name__ or entry.position.pos != after.pos + 1:
        return False
    opened = decode(entry.type, entry.v, entry.data)
    if not isinstance(opened, LogOpened):
        return False
    previous = (after.epoch, after.pos, after_id) if after != START else None
    return opened.previous == previous
