"""Group commit: units submitted while a script is in flight go into the next call (DESIGN §5.2).

One batch is in flight for each (process, partition) and carries a number. A batch whose reply was lost is sent
again with the same number and applies at most once, whoever wrote in between: commit.lua keeps the last reply.
Batches of several partitions that are ready at one moment share a round trip.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.eventlog import snapshot
from shared.eventlog.position import Position
from shared.eventlog.script import Script
from shared.eventlog.unit import Answered, Committed, Conflict, Early, Outcome, Unit, batch_arguments, pack

if TYPE_CHECKING:
    from shared.eventlog.keys import Keys
    from shared.eventlog.wire import Wire
    from shared.metrics import Metrics

UNITS_MAX = 200  # about 3 ms of script; BYTES_MAX likewise (DESIGN §5.2: 5 ms)
BYTES_MAX = 1_000_000
WRITER_TTL_MS = 24 * 3600 * 1000
RESEND_AFTER_S = (0.05, 0.1, 0.2, 0.4, 0.8)  # then every 0.8 s
BROKEN = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError)
PASSING = (
    "LOADING",
    "BUSY",
    "MISCONF",
    "MASTERDOWN",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "NOREPLICAS",
)  # what a server says that will be well again


Settled = Callable[[int, Sequence[Unit]], Awaitable[list[Committed | None]]]


class LogFull(Exception):  # noqa: N818 - said to clients as a 503
    """Redis is out of memory: no new work is taken until runs have ended."""


def _flavours() -> dict[bool, Script]:
    """By `adds_work`: one body, refused under memory pressure or allowed."""
    body = resources.files("shared.eventlog").joinpath("commit.lua").read_text()
    return {True: Script("#!lua\n" + body), False: Script("#!lua flags=allow-oom\n" + body)}


class _Submitted(NamedTuple):
    unit: Unit
    packed: bytes
    future: asyncio.Future[Outcome]


class _Batch(NamedTuple):
    """What goes to a partition in one call of the script."""

    line: _Line
    script: Script
    submitted: list[_Submitted]
    args: list[str | bytes]
    began_at: float


class _Line:
    """One partition's queue of units; at most one batch of it is under way."""

    def __init__(self, keys: Keys, process: str) -> None:
        self.partition = keys.partition
        self.keys = [keys.meta, keys.log, keys.due, keys.writer(process), keys.timer_bell, keys.never]
        self.is_busy = False
        self._base = keys.base
        self._seq = 0
        self._scripts = _flavours()
        self._waiting: dict[bool, deque[_Submitted]] = {True: deque(), False: deque()}

    def add(self, submitted: _Submitted) -> None:
        self._waiting[submitted.unit.adds_work].append(submitted)

    def next_batch(self) -> _Batch | None:
        """What goes next, if nothing is under way; what ends work goes before what adds some."""
        if self.is_busy:
            return None
        adds_work = not self._waiting[False]
        taken = self._taken(self._waiting[adds_work])
        if not taken:
            return None
        self.is_busy = True
        self._seq += 1
        units = [each.packed for each in taken]
        args = batch_arguments(self._seq, base=self._base, ttl_ms=WRITER_TTL_MS, units=units)
        return _Batch(self, self._scripts[adds_work], taken, args, time.monotonic())

    def _taken(self, waiting: deque[_Submitted]) -> list[_Submitted]:
        taken: list[_Submitted] = []
        size = 0
        while waiting and len(taken) < UNITS_MAX:
            size += len(waiting[0].packed)
            if taken and size > BYTES_MAX:
                break
            taken.append(waiting.popleft())
        return taken


class Writer:
    """One process's hand on the logs of all partitions.

    Args:
        wire: to Redis.
        keys: of each partition, in their order.
        process: a name nobody else has, and nobody has had.
        reopen: called with a partition that answered CLOSED; returns when it has been opened.
        settled: asked, when a reply was lost and the log has been opened anew, which of some units the archive has.
        metrics: counts commits.
        saw: told what time (Unix ms) Redis has, and in which partition, with each reply.
    """

    def __init__(
        self,
        wire: Wire,
        keys: Sequence[Keys],
        process: str,
        *,
        reopen: Callable[[int], Awaitable[None]],
        settled: Settled | None = None,
        metrics: Metrics,
        saw: Callable[[int, int], None],
    ) -> None:
        self._wire = wire
        self._process = process
        self._reopen = reopen
        self._settled = settled
        self._metrics = metrics
        self._saw = saw
        self._committed = cache(
            metrics.events_committed_total.labels
        )  # finding a series costs more than counting
        self._lines = [_Line(each, process) for each in keys]
        self._tasks: set[asyncio.Task[None]] = set()
        self._flush_is_due = False

    def submit(self, partition: int, unit: Unit) -> asyncio.Future[Outcome]:
        """Commit `unit` with whatever else is waiting; what is returned is done when its script is.

        The unit is written even if nobody waits for it any more. It fails with LogFull if it adds work and Redis is
        out of memory.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._lines[partition].add(_Submitted(unit, pack(unit), future))
        self._flush_soon()
        return future

    async def close(self) -> None:
        """Wait for the batches under way, up to a second, then let go."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        for task in self._tasks:
            task.cancel()

    # The way of a batch.

    def _flush_soon(self) -> None:
        """Let the tasks that are about to run submit theirs, too."""
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        lanes: dict[Hashable, list[_Batch]] = {}  # by server: none waits for another's
        for line in self._lines:
            if batch := line.next_batch():
                lanes.setdefault(self._wire.lane(line.keys[0]), []).append(batch)
        for batches in lanes.values():
            self._begin(self._deliver(batches), "commit")

    def _begin(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, batches: list[_Batch]) -> None:
        """Send batches of several partitions of a server in one round trip; one that fails goes on by itself."""
        try:
            findings = await self._sent(batches)
        except BaseException as error:
            for batch in batches:
                _fail(batch, error)
            raise
        for batch, finding in zip(batches, findings, strict=True):
            if isinstance(finding, list) and finding[0] == b"OK":
                self._settle(batch, finding)
            else:
                self._begin(self._insist(batch, finding), f"commit {batch.line.partition}")

    async def _sent(self, batches: list[_Batch]) -> list[Any]:
        """For each batch its reply, or the exception instead."""
        try:
            return await self._wire.call(*[each.script.call(each.line.keys, each.args) for each in batches])
        except Exception as error:  # noqa: BLE001 - the connection, for all of them
            return [error] * len(batches)

    async def _insist(self, batch: _Batch, finding: Any) -> None:
        """Send a batch until a reply says what became of it; its number makes repeating safe."""
        tries, in_doubt = 0, False
        try:
            while not (isinstance(finding, list) and finding[0] == b"OK"):
                in_doubt = in_doubt or isinstance(finding, BROKEN)
                tries = await self._prepared(batch, finding, tries)
                if in_doubt and finding == [b"CLOSED"]:
                    batch = await self._without_archived(batch)
                (finding,) = await self._sent([batch])
        except BaseException as error:
            _fail(batch, error)
            self._flush_soon()
            if not isinstance(error, Exception):
                raise
            return
        self._settle(batch, finding)

    async def _prepared(self, batch: _Batch, finding: Any, tries: int) -> int:
        """Do what lets the next try go well; returns how many there were in a row for want of a server.

        Raises:
            Exception: no other try would.
        """
        match finding:
            case OutOfMemoryError():
                raise LogFull(
                    "Redis is out of memory; new work is refused until runs have ended"
                ) from finding
            case NoScriptError():
                await self._wire.replies(batch.script.load)
            case _ if isinstance(finding, BROKEN):
                await asyncio.sleep(RESEND_AFTER_S[min(tries, len(RESEND_AFTER_S) - 1)])
                return tries + 1
            case ResponseError() if str(finding).startswith(PASSING):
                await asyncio.sleep(RESEND_AFTER_S[-1])
            case [b"CLOSED"]:
                await self._reopen(batch.line.partition)
            case Exception():
                raise finding
            case _:
                raise RuntimeError(f"writer {self._process}: batch {batch.args[0]!r} answered {finding!r}")
        return tries

    async def _without_archived(self, batch: _Batch) -> _Batch:
        """What of a batch is still to be written, after its reply was lost and the log was opened anew.

        Most likely its number stands in Redis, and its reply with it. If Redis has lost that, it may have been written
        and archived all the same: the log was healed, or what it has forgotten was read before. Then its guards don't
        tell: what it made may have ended since, and its key be gone.
        """
        if self._settled is None or await self._is_remembered(batch):
            return batch
        units = [each.unit for each in batch.submitted]
        found = await self._settled(batch.line.partition, units)
        left = []
        for each, committed in zip(batch.submitted, found, strict=True):
            if committed is None:
                left.append(each)
            elif not each.future.done():
                each.future.set_result(committed)
        return batch._replace(submitted=left, args=batch.args[:3] + [each.packed for each in left])

    async def _is_remembered(self, batch: _Batch) -> bool:
        (stored,) = await self._wire.replies(("GET", batch.line.keys[3]))
        return stored is not None and stored.startswith(f"{batch.args[0]!s} ".encode())

    def _settle(self, batch: _Batch, reply: list[Any]) -> None:
        batch.line.is_busy = False
        self._flush_soon()
        self._metrics.commit_duration_seconds.observe(time.monotonic() - batch.began_at)
        self._metrics.commit_batch_size.observe(len(batch.submitted))
        now_ms, epoch = int(reply[1]), int(reply[2])
        self._saw(now_ms, batch.line.partition)
        written: Counter[str] = Counter()
        for (unit, _, future), row in zip(batch.submitted, reply[3:], strict=True):
            try:
                outcome = _outcome(unit, row, epoch, now_ms)
            except (
                ValueError
            ) as error:  # a conflicting snapshot of a newer shape: this caller's trouble alone
                if not future.done():
                    future.set_exception(error)
                continue
            if isinstance(outcome, Committed):
                written.update([event.type for event in unit.events])
            elif isinstance(outcome, Conflict):
                self._metrics.commit_conflicts_total.inc()
            if not future.done():
                future.set_result(outcome)
        for kind, count in written.items():
            self._committed(kind).inc(count)


def _fail(batch: _Batch, error: BaseException) -> None:
    batch.line.is_busy = False
    for _, _, future in batch.submitted:
        if not future.done():
            future.set_exception(error if isinstance(error, Exception) else ConnectionError("closing"))


def _outcome(unit: Unit, row: Any, epoch: int, now_ms: int) -> Outcome:
    if isinstance(row, int):
        last = row + len(unit.events) - 1
        return Committed(first=Position(epoch, row), last=Position(epoch, last), now_ms=now_ms)
    match row:
        case [b"conflict", ref, *held]:
            conflicting = ref.decode()
            return Conflict(ref=conflicting, snapshot=snapshot.read(conflicting, *held))
        case [b"early", ref]:
            return Early(ref=ref.decode())
        case [b"once", digest, fingerprint, answer, position]:
            return Answered.of(digest.decode(), fingerprint, answer, position)
        case other:
            raise RuntimeError(f"commit.lua answered {other!r}")
