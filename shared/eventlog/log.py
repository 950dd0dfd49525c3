"""One process's view of the log: load snapshots, commit units, know what time Redis has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.domain import ids, kinds
from shared.eventlog import opening, snapshot
from shared.eventlog.cluster import Cluster, masters
from shared.eventlog.cluster_wire import wire_to
from shared.eventlog.keys import Keys
from shared.eventlog.redis_time import RedisTime, first_to_tell
from shared.eventlog.snapshot import NOTHING, Snapshot
from shared.eventlog.unit import Answered
from shared.eventlog.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from redis.asyncio import Redis

    from shared.eventlog.unit import Outcome, Unit
    from shared.eventlog.wire import Wire
    from shared.eventlog.writer import Settled
    from shared.metrics import Metrics

LOADS_MAX = 500  # snapshots a pipeline
_ONCE_FIELDS = ("fingerprint", "answer", "position")  # as commit.lua writes them


class EventLog:
    """The door to all partitions.

    Attributes:
        redis: the client.
        wire: a connection for scripts, shared by all who call them.

    Args:
        redis: a client from `connection.connect`.
        prefix: what every key begins with.
        partitions: of the deployment.
        process: a name nobody else has, and nobody has had: its batches are numbered under it.
        metrics: counts commits.
        reopen: called with a partition that answered CLOSED; returns when it has been opened.
        archived: finds a job whose snapshot has left Redis; its guard is then "none".
        settled: see Writer.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        partitions: int,
        process: str,
        metrics: Metrics,
        reopen: Callable[[int], Awaitable[None]],
        archived: Callable[[str], Awaitable[Snapshot]] | None = None,
        settled: Settled | None = None,
    ) -> None:
        self.redis = redis
        self.prefix = prefix
        self.partitions = partitions
        self.process = process
        self._archived = archived
        self._reopen = reopen
        self._keys = [Keys(prefix, partition) for partition in range(partitions)]
        self.wire = wire_to(redis)
        self._writer = Writer(
            self.wire, self._keys, process, reopen=reopen, settled=settled, metrics=metrics, saw=self.saw
        )
        self._loaders = [_Loader(self.wire, keys, self.saw) for keys in self._keys]
        # Several servers have several clocks: what is decided about a partition is decided by that of its own.
        self._any = self._newest = RedisTime()
        self._times = [RedisTime() if isinstance(redis, Cluster) else self._any for _ in self._keys]

    def keys(self, partition: int) -> Keys:
        """The names of a partition's keys."""
        return self._keys[partition]

    async def load(self, *refs: str) -> dict[str, Snapshot]:
        """The snapshots of `job:<id>`, `run:<id>` and others (`shared.domain.kinds`); NOTHING for what isn't there.

        Raises:
            NewerShape: a newer Daybook wrote one of them.
        """
        loads = [self._loaders[self.partition_of(ref)].load(ref) for ref in refs]
        snapshots = [await loads[0]] if len(loads) == 1 else await asyncio.gather(*loads)
        found = dict(zip(refs, snapshots, strict=True))
        for ref, held in found.items():
            if held is NOTHING:
                found[ref] = await self._missing(ref)
        return found

    async def _missing(self, ref: str) -> Snapshot:
        """What Redis hasn't got: a log that was wiped has lost it only until it is healed."""
        held, partition = NOTHING, self.partition_of(ref)
        if not (await opening.look(self.redis, self._keys[partition])).is_open:
            await self._reopen(partition)
            held = await self._loaders[partition].load(ref)
        if held is NOTHING and self._archived is not None and ref.startswith("job:"):
            return await self._archived(ref)
        return held

    async def progress(self, ref: str) -> str | None:
        """How far the handler of the running `run:<id>` has told that it is (JSON); None if it hasn't."""
        key = self.keys(self.partition_of(ref)).aggregate(ref)
        ((fence, told),) = await self.wire.replies(("HMGET", key, "fence", "progress"))
        if fence is None or told is None or not told.startswith(fence + b" "):
            return None
        return str(told[len(fence) + 1 :], "utf-8")

    async def commit(self, partition: int, unit: Unit) -> Outcome:
        """Write `unit`, together with whatever else this process is committing to the partition.

        Raises:
            LogFull: it adds work and Redis is out of memory.
        """
        return await self._writer.submit(partition, unit)

    async def answered(self, partition: int, digest: str) -> Answered | None:
        """The answer that was given to what may be asked once, while it is kept."""
        (row,) = await self.wire.replies(("HMGET", self.keys(partition).once(digest), *_ONCE_FIELDS))
        return None if row[0] is None else Answered.of(digest, *row)

    def now(self, partition: int | None = None) -> datetime:
        """Redis TIME as of the newest reply, plus what has passed here since. Local clocks only measure spans.

        Args:
            partition: whose server is meant; None: whichever answered last.
        """
        of_partition = self._newest if partition is None else self._times[partition]
        return ids.from_ms((of_partition if of_partition.is_known else self._newest).now_ms())

    def ahead_ms(self, partition: int) -> int:
        """How far `now()` is ahead of `now(partition)`; 0 where there is but one server."""
        own = self._times[partition]
        return self._newest.ahead_ms(own) if own.is_known else 0

    async def sync(self) -> datetime:
        """Ask Redis for its time."""
        seconds, micros = await first_to_tell(await masters(self.redis))
        self._newest = self._any
        self._any.saw(seconds * 1000 + micros // 1000)
        return self.now()

    def partition_of(self, ref: str) -> int:
        """Where an aggregate stands.

        Raises:
            ids.BadId: the id names a partition this deployment hasn't got.
        """
        return kinds.of_ref(ref).partition_of(ref.partition(":")[2], self.partitions)

    async def close(self) -> None:
        """Let batches under way end, and hang up."""
        await self._writer.close()
        self.wire.close()

    def saw(self, redis_ms: int, partition: int = 0) -> None:
        """Note what time (Unix ms) the server of a partition has just said it is."""
        self._newest = self._times[partition]
        self._newest.saw(redis_ms)


class _Loader:
    """Loads of one partition: what is asked for while a pipeline is under way goes into the next one, once each."""

    def __init__(self, wire: Wire, keys: Keys, saw: Callable[[int, int], None]) -> None:
        self._wire = wire
        self._keys = keys
        self._saw = saw
        self._waiting: list[tuple[str, asyncio.Future[Snapshot]]] = []
        self._task: asyncio.Task[None] | None = None

    def load(self, ref: str) -> asyncio.Future[Snapshot]:
        future: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._waiting.append((ref, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name=f"loader {self._keys.partition}")
        return future

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:LOADS_MAX], self._waiting[LOADS_MAX:]
            refs = list(dict.fromkeys(ref for ref, _ in batch))
            try:
                rows = await self._fetch(refs)
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(
                            error if isinstance(error, Exception) else ConnectionError("closing")
                        )
                if not isinstance(error, Exception):
                    raise
                continue
            found = {ref: _read(ref, row) for ref, row in zip(refs, rows, strict=True)}
            for ref, future in batch:
                _resolve(future, found[ref])

    async def _fetch(self, refs: list[str]) -> list[list[bytes | None]]:
        loads = [("HMGET", self._keys.aggregate(ref), *snapshot.FIELDS) for ref in refs]
        (seconds, micros), *rows = await self._wire.replies(("TIME",), *loads)
        self._saw(int(seconds) * 1000 + int(micros) // 1000, self._keys.partition)
        return rows


def _read(ref: str, row: list[bytes | None]) -> Snapshot | ValueError:
    """The snapshot in a row, or why it can't be read: whoever asked for another isn't kept from that."""
    version, state, spec, fence = [value or b"" for value in row]
    try:
        return snapshot.read(ref, version, state, spec, fence)
    except ValueError as error:
        return error


def _resolve(future: asyncio.Future[Snapshot], found: Snapshot | ValueError) -> None:
    if future.done():
        return
    if isinstance(found, ValueError):
        future.set_exception(found)
    else:
        future.set_result(found)
