"""One partition's way into Postgres: read, fold, commit, announce, trim; and look again when in doubt."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING

import asyncpg

from services.projector.batch import Overtaken, batch_of, commit
from services.projector.folding import folded
from services.projector.memory import Memory
from services.projector.trimming import Tail
from services.projector.units import BATCH, whole_units
from shared import logs
from shared.domain.events import TERMINAL
from shared.eventlog import opening
from shared.eventlog.position import Position
from shared.eventlog.reader import Hole
from shared.faults import Fatal
from shared.personal.levelling import level
from shared.personal.sweeping import Sweep
from shared.readmodel import archive
from shared.recovery.comparing import hole as hole_between

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

    from services.projector.batch import Batch, Destroy
    from services.projector.committer import Committer
    from services.projector.manners import Manners
    from services.projector.rows import Refusal
    from shared.eventlog.envelope import Recorded
    from shared.eventlog.keys import Keys
    from shared.eventlog.reader import LogReader
    from shared.metrics import Metrics
    from shared.readmodel.archive import Checkpoint

    Archived = Callable[[Sequence[Recorded], int, int], None]

WATCH_EVERY_S = 1.0  # a quiet log: a round trip of three reads
SMALL = 1_000  # events; below, a batch is written together with those of other partitions
ENDS = frozenset(event.__name__ for event in TERMINAL)
NAMED = 100  # runs in a line of the log
APART = 100  # batches that a partition commits by itself after trouble, so as not to spoil the others' groups


class Unopened(ConnectionError):  # noqa: N818 - a finding
    """The log isn't open yet: whoever opens it is still comparing. Waiting cures it."""


class PartitionProjector:
    """Projects one partition; what it knows of checkpoint, jobs and runs is good until something fails.

    Args:
        partition: which.
        keys: names of its keys.
        reader: of the log, on a client whose reads may block.
        redis: a client for commands.
        pool: of the archive's database; one connection is taken at a time.
        committer: writes small batches, and announces all.
        manners: of the process.
        metrics: counts refusals.
        destroy: takes the keys of jobs that were erased (`PersonalKeys.destroy`).
        reopen: opens the log, healed where it must be (`recovery.open_log`); raises Fatal if it isn't to be.
        archived: is told of each batch, with its events and the Unix ns at which it was begun and written.
    """

    def __init__(
        self,
        partition: int,
        keys: Keys,
        *,
        reader: LogReader,
        redis: Redis,
        pool: asyncpg.Pool,
        committer: Committer,
        manners: Manners,
        metrics: Metrics,
        destroy: Destroy,
        reopen: Callable[[int], Awaitable[None]],
        archived: Archived | None = None,
    ) -> None:
        self.partition = partition
        self._keys = keys
        self._reader = reader
        self._redis = redis
        self._pool = pool
        self._committer = committer
        self._manners = manners
        self._metrics = metrics
        self._destroy = destroy
        self._reopen = reopen
        self._archived = archived
        self._log = logs.get("daybook.projector")
        self._ahead: asyncio.Task[list[Recorded]] | None = None
        self._memory = Memory()
        self._tail = Tail()
        self._sweep = Sweep(pool, redis, keys)
        self.checkpoint: Checkpoint | None = None
        self.reached: Checkpoint | None = None  # outlives `checkpoint` in an outage: the lag is not 0 then
        self._holes = 0
        self._watched_at = -math.inf
        self._apart = 0

    async def run_once(self, *, block_ms: int | None) -> int:
        """Project one batch, and return how many events it had; 0 if none came within `block_ms`.

        Raises:
            Fatal: events between archive and log are missing, or they disagree.
            Exception: broken infrastructure; the next call looks at everything again.
        """
        try:
            return await self._round(block_ms)
        except Overtaken as finding:
            self._log.info("somebody else has projected, looking again", finding=str(finding))
            await self.forget()
            return 0
        except Hole as hole:
            await self._face(hole)
            return 0
        except BaseException:
            await self.forget()
            raise

    async def forget(self) -> None:
        """Drop what is known; the next round begins anew."""
        self.checkpoint = None
        self._memory = Memory()
        self._tail = Tail()
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)  # nobody waits for what it found

    async def leave(self) -> None:
        """The partition is another replica's: forget, and don't speak of its lag any more."""
        self.reached = None
        await self.forget()

    async def _round(self, block_ms: int | None) -> int:
        if self.checkpoint is None:
            self.checkpoint = self.reached = await self._begin()
            self._sweep.begin()
        await self._sweep.step()
        events = await self._read(self.checkpoint, block_ms)
        if not events:
            await self._watch()
            return 0
        self._holes = 0
        if len(events) < SMALL:
            return await self._project(self.checkpoint, events)
        self._read_ahead(events[-1], block_ms)
        async with (
            self._manners.flood() if block_ms is not None else contextlib.nullcontext()
        ):  # not when it ends
            return await self._project(self.checkpoint, events)

    async def _watch(self) -> None:
        """Forget all if a quiet log isn't open any more: it was wiped, or its server replaced, and nobody commits.

        The next round then opens it; of those who would notice at their next commit, none may ever make one.
        """
        if time.monotonic() - self._watched_at < WATCH_EVERY_S:
            return
        self._watched_at = time.monotonic()
        if not (await opening.look(self._redis, self._keys)).is_open:
            self._log.warning("the log is not open any more", partition=self.partition)
            await self.forget()

    async def _project(self, checkpoint: Checkpoint, events: Sequence[Recorded]) -> int:
        """Fold and commit events that follow the checkpoint; returns how many there were."""
        began_ns = time.time_ns()
        batch = batch_of(checkpoint, events, await folded(self._pool, self._memory, events))
        together = self._may_join(batch) and await self._committer.commit(batch)
        refused = [] if together else await self._commit_alone(batch)
        self.checkpoint = self.reached = batch.after
        self._memory.settle(batch.folded, {each.key for each in refused})
        self._tell(refused)
        self._tell_duplicates(batch)
        self._tell_ends(events)
        if self._archived is not None:
            self._archived(events, began_ns, time.time_ns())
        if not together:
            await self._committer.announce([batch.after])
        await self._trim(batch)
        return len(events)

    async def _begin(self) -> Checkpoint:
        """The checkpoint of a log that is open for this very server."""
        checkpoint = await self._opened() or await self._reopened()
        await self._committer.announce([checkpoint])  # whoever projected it may have died before it could
        return checkpoint

    async def _opened(self) -> Checkpoint | None:
        state = await opening.look(self._redis, self._keys)
        checkpoint = await archive.checkpoint(self._pool, self.partition)
        if checkpoint is None or not state.is_open or state.epoch < checkpoint.fence:
            return None
        # A database that was set back below an open log catches up with its events, but no event holds a key.
        async with self._pool.acquire() as connection:
            await level(connection, self._redis, self._keys)
        return checkpoint

    async def _reopened(self) -> Checkpoint:
        await self._reopen(self.partition)
        checkpoint = await self._opened()
        if checkpoint is None:
            raise Unopened(f"partition {self.partition} has been closed again while it was opened")
        return checkpoint

    async def _read(self, after: Checkpoint, block_ms: int | None) -> list[Recorded]:
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return await ahead
        return await self._read_after(Position(after.epoch, after.pos), after.id, block_ms)

    async def _read_after(self, after: Position, after_id: str, block_ms: int | None) -> list[Recorded]:
        events = await self._reader.read(self.partition, after, after_id, count=BATCH, block_ms=block_ms)
        return whole_units(events, BATCH)

    def _read_ahead(self, last: Recorded, block_ms: int | None) -> None:
        """Read what follows `last` while Postgres takes what has been read."""
        if block_ms is not None:
            read = self._read_after(last.position, last.id, block_ms)
            self._ahead = asyncio.create_task(read, name=f"projector:{self.partition}:ahead")

    def _may_join(self, batch: Batch) -> bool:
        folded = batch.folded
        # A group has no part for these: they are rare, and it is written all the time.
        is_special = folded.unreadable or folded.keys or folded.calendars or folded.erased
        return len(batch.events) < SMALL and not is_special and self._apart == 0

    async def _commit_alone(self, batch: Batch) -> list[Refusal]:
        self._apart = max(0, self._apart - 1)
        try:
            async with self._pool.acquire() as connection:
                refused = await commit(connection, batch, self._destroy)
        except asyncpg.PostgresError:
            self._apart = APART
            raise
        if refused:
            self._apart = APART
        return refused

    def _tell(self, refused: Sequence[Refusal]) -> None:
        for each in refused:
            self._metrics.projection_errors_total.inc()
            self._log.error(
                "a row was refused",
                partition=self.partition,
                model=each.model,
                key=each.key,
                position=str(each.position),
                sqlstate=each.sqlstate,
                reason=each.message,
            )

    def _tell_duplicates(self, batch: Batch) -> None:
        """What must never be. It was archived, as it stands in the log; `daybook audit verify` says which."""
        if batch.folded.duplicated:
            self._metrics.occurrences_duplicated_total.inc(batch.folded.duplicated)
            self._log.error(
                "occurrences were decided twice",
                partition=self.partition,
                count=batch.folded.duplicated,
                first=str(batch.events[0].position),
                last=str(batch.events[-1].position),
            )

    def _tell_ends(self, events: Sequence[Recorded]) -> None:
        """Name the runs that have ended: a line for many of them, as nobody waits for one."""
        ended = [event.subject.removeprefix("run/") for event in events if event.type in ENDS]
        for first in range(0, len(ended), NAMED):
            self._log.info("runs archived", partition=self.partition, runs=ended[first : first + NAMED])

    async def _trim(self, batch: Batch) -> None:
        """Drop from the log what nobody tails any more."""
        below = self._tail.add(batch.events)
        if below is not None:
            await self._reader.trim(self.partition, below)

    async def _face(self, hole: Hole) -> None:
        """Look again: the checkpoint may be old. A hole after that is one.

        Healing is no answer: the log is open, so it holds the archive's end or was healed to go on from it, and
        what followed has gone since from the log alone. It may have been decided upon, so neither side can win.

        Raises:
            Fatal: events are missing.
        """
        await self.forget()
        self._holes += 1
        await self._reopen(self.partition)
        if self._holes > 1:
            told = hole_between(self.partition, hole.after, f"goes on at {hole.found}", hole.found.pos)
            raise Fatal(f"{told} Nothing was projected beyond it.")
