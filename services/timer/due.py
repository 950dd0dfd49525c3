"""The due index as the timer sees it: what is due, and moving what can't be decided out of the way."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.domain import ids
from shared.eventlog import snapshot
from shared.eventlog.script import Call, Script, called, raise_unless_some
from shared.eventlog.snapshot import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.eventlog.log import EventLog
    from shared.eventlog.snapshot import Snapshot

WAKES_MAX = 200  # a partition and round; the most that one batch takes
BYTES_MAX = 1_000_000  # of snapshots, likewise: one that is past it is the round's last


class Due(NamedTuple):
    """An entry of the due index: a ref, and its score (ms) as text.

    `held` has version, state, spec and fence of the aggregate's snapshot as they were when the score was read.
    """

    partition: int
    ref: str
    score: str
    held: tuple[bytes, bytes, bytes, bytes] = (b"", b"", b"", b"")

    @property
    def version(self) -> str:
        """Position of the aggregate's last event then; '' if it wasn't in Redis."""
        return self.held[0].decode()

    def snapshot(self) -> Snapshot | None:
        """The aggregate as it was then; None if it wasn't in Redis (it may still be in the archive).

        Raises:
            NewerShape: a newer Daybook wrote it.
        """
        found = snapshot.read(self.ref, *self.held)
        return None if found is NOTHING else found


class Sight(NamedTuple):
    """One look at the due index of some partitions.

    Attributes:
        due: entries whose time has come, the most pressing of each partition; by partition, empty ones left out.
        overdue: how many there are in each, taken or not.
        head_ms: when the first entry of all is due (Unix ms, by the clock that `log.now()` goes by), or None.
    """

    due: dict[int, list[Due]]
    overdue: dict[int, int]
    head_ms: int | None


class DueIndex:
    """The due indexes of all partitions; `log` says where they are, and is told what time Redis has."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._take = _script("take")
        self._postpone = _script("postpone")

    async def look(self, partitions: Sequence[int]) -> Sight:
        """What is due in `partitions`: one round trip. Those of a server that can't be reached are left out.

        Raises:
            Exception: what `faults.is_broken` knows; none was reached.
        """
        if not partitions:
            await self._log.sync()
            return Sight(due={}, overdue={}, head_ms=None)
        due: dict[int, list[Due]] = {}
        heads: dict[int, int] = {}
        overdue: dict[int, int] = {}
        for partition, row in await self._taken(partitions):
            seconds, micros, head, count, *entries = row
            self._log.saw(int(seconds) * 1000 + int(micros) // 1000, partition)
            overdue[partition] = count
            if head:
                heads[partition] = int(float(head))
            if entries:
                due[partition] = [
                    Due(partition, ref.decode(), score.decode(), (version, state, spec, fence))
                    for ref, score, version, state, spec, fence in entries
                ]
        head_ms = min(
            (head + self._log.ahead_ms(partition) for partition, head in heads.items()), default=None
        )
        return Sight(due=due, overdue=overdue, head_ms=head_ms)

    async def postpone(self, entry: Due, *, by_ms: int) -> None:
        """Have `entry` come again `by_ms` from now, unless it has moved since it was seen."""
        later = str(ids.to_ms(self._log.now(entry.partition)) + by_ms)
        keys = [self._log.keys(entry.partition).due]
        await self._postpone(self._log.redis, keys, [entry.ref, entry.score, later])

    async def _taken(self, partitions: Sequence[int]) -> list[tuple[int, Any]]:
        most = [str(WAKES_MAX), str(BYTES_MAX)]
        all_keys = [self._log.keys(partition) for partition in partitions]
        calls = [Call(self._take, [keys.due], [keys.aggregate(""), *most]) for keys in all_keys]
        replies = await called(self._log.wire, calls)
        raise_unless_some(replies)
        rows = zip(partitions, replies, strict=True)
        return [(partition, reply) for partition, reply in rows if not isinstance(reply, Exception)]


def _script(name: str) -> Script:
    return Script(resources.files("services.timer").joinpath(f"{name}.lua").read_text())
