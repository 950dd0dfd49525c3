"""The due index as the timer sees it: what is due, and moving what can't be decided out of the way."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import NoScriptError

from shared.domain import ids
from shared.eventlog import snapshot
from shared.eventlog.snapshot import NOTHING
from shared.eventlog.writer import Script

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
        head_ms: when the first entry of all is due (Unix ms), or None.
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
        """What is due in `partitions`: one round trip."""
        if not partitions:
            await self._log.sync()
            return Sight(due={}, overdue={}, head_ms=None)
        due: dict[int, list[Due]] = {}
        heads: list[int] = []
        overdue: dict[int, int] = {}
        for partition, row in zip(partitions, await self._called(partitions), strict=True):
            seconds, micros, head, count, *entries = row
            overdue[partition] = count
            if head:
                heads.append(int(float(head)))
            if entries:
                due[partition] = [
                    Due(partition, ref.decode(), score.decode(), (version, state, spec, fence))
                    for ref, score, version, state, spec, fence in entries
                ]
        self._log.saw(int(seconds) * 1000 + int(micros) // 1000)
        return Sight(due=due, overdue=overdue, head_ms=min(heads, default=None))

    async def postpone(self, entry: Due, *, by_ms: int) -> None:
        """Have `entry` come again `by_ms` from now, unless it has moved since it was seen."""
        later = str(ids.to_ms(self._log.now()) + by_ms)
        keys = [self._log.keys(entry.partition).due]
        await self._postpone(self._log.redis, keys, [entry.ref, entry.score, later])

    async def _called(self, partitions: Sequence[int]) -> list[Any]:
        wire, most = self._log.wire, [str(WAKES_MAX), str(BYTES_MAX)]
        all_keys = [self._log.keys(partition) for partition in partitions]
        takes = [self._take.call([keys.due], [keys.aggregate(""), *most]) for keys in all_keys]
        try:
            return await wire.replies(*takes)
        except NoScriptError:
            await wire.replies(self._take.load)
            return await wire.replies(*takes)


def _script(name: str) -> Script:
    return Script(resources.files("services.timer").joinpath(f"{name}.lua").read_text())
