"""The committer: takes the partitions' little batches, and writes those that wait in one transaction.

A batch after a quiet spell is written at once. Under a trickle one group follows another at a pace, so that
what a second costs hardly grows with the number of partitions or batches: at a slow one what timer and
executor have written, which nobody waits for, and at a quick one what clients have. The slow pace slackens with
the volume: a statement of hundreds of rows costs a third an event of what one of ten does.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.projector.group import commit_together
from shared import logs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import asyncpg
    from redis.asyncio import Redis

    from services.projector.batch import Batch
    from services.projector.manners import Manners
    from shared.eventlog.keys import Keys
    from shared.readmodel.archive import Checkpoint

PACE_S = 0.040  # from the beginning of one group to that of the next, at least
PACE_MAX_S = 0.200
EVENT_S = 0.0003  # a large group is followed later, so that a flood is written by the hundred
PACE_SHORT_MAX_S = 0.500  # the same where processors are short: a flood is written by the thousand
EVENT_SHORT_S = 0.001
HASTE_S = 0.005  # the pace if a client may be waiting; with 10 ms a third fewer were answered a second
OURS = frozenset({"timer", "executor"})  # actors whose events nobody waits for; when in doubt somebody does
GROUP = 4_000  # events a transaction, about


@dataclass(frozen=True, slots=True)
class _Waiting:
    batch: Batch
    hurries: bool
    done: asyncio.Future[bool]


class Committer:
    """Writes batches of several partitions together, and tells who waits for the archive.

    Args:
        pool: of the archive's database; one connection is taken for a group.
        redis: a client for commands.
        keys: of each partition, which name the channels.
        manners: of the process.
        pace_s: from the beginning of one group to that of the next, unless it was large.
        haste_s: the same, if somebody may be waiting.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        redis: Redis,
        keys: Mapping[int, Keys],
        manners: Manners,
        *,
        pace_s: float = PACE_S,
        haste_s: float = HASTE_S,
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._keys = keys
        self._manners = manners
        self._pace_s = pace_s
        self._haste_s = haste_s
        self._log = logs.get("daybook.projector")
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._began_at = -math.inf
        self._events = 0  # in the last group

    async def commit(self, batch: Batch) -> bool:
        """Write the batch with those of other partitions that wait, and announce it.

        May be cancelled: if the transaction is under way by then, it goes on.

        Returns:
            Whether it is written. If not, the group failed, for whatever reason: the batch must be committed
            by itself.

        Raises:
            Exception: it is written, and could not be announced.
        """
        hurries = any(event.actor not in OURS for event in batch.events)
        waiting = _Waiting(batch, hurries, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if hurries:
            self._hurry.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve(), name="projector:committer")
        return await waiting.done

    async def announce(self, archived: Iterable[Checkpoint]) -> None:
        """Publish how far these partitions are archived, in one round trip."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for each in archived:
                pipe.publish(self._keys[each.partition].archived, f"{each.epoch}-{each.pos}")
            await pipe.execute()

    async def close(self) -> None:
        """Give up what is being written, and whoever waits for it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _serve(self) -> None:
        """Write groups until nobody waits."""
        group: Sequence[_Waiting] = ()
        try:
            while self._waiting:
                await self._keep_pace()
                group = self._taken()
                await self._settle(group)
        except BaseException as error:  # nobody may be left waiting in vain
            _fail([*group, *self._waiting], error)
            self._waiting.clear()
            raise

    async def _keep_pace(self) -> None:
        while (pause_s := self._pause_s()) > 0:
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._hurry.wait()
        self._began_at = time.monotonic()

    def _pause_s(self) -> float:
        if any(each.hurries for each in self._waiting):
            pace_s = self._haste_s
        elif self._manners.short():
            pace_s = max(self._pace_s, min(self._events * EVENT_SHORT_S, PACE_SHORT_MAX_S))
        else:
            pace_s = max(self._pace_s, min(self._events * EVENT_S, PACE_MAX_S))
        return self._began_at + pace_s - time.monotonic()

    def _taken(self) -> Sequence[_Waiting]:
        """The next group: who came first, without those that have given up."""
        group: list[_Waiting] = []
        events = 0
        while self._waiting and events < GROUP:
            each = self._waiting.pop(0)
            if not each.done.done():
                group.append(each)
                events += len(each.batch.events)
        self._events = events
        return group

    async def _settle(self, group: Sequence[_Waiting]) -> None:
        if not group:
            return
        if not await self._written([each.batch for each in group]):
            _resolve(group, written=False)
            return
        try:
            await self.announce(each.batch.after for each in group)
        except Exception as error:  # noqa: BLE001 - each of them raises it
            _fail(group, error)
        else:
            _resolve(group, written=True)

    async def _written(self, batches: Sequence[Batch]) -> bool:
        try:
            async with self._pool.acquire() as connection:
                await commit_together(connection, batches)
        except Exception as error:  # noqa: BLE001 - whatever it is, each batch by itself will meet it again
            self._log.info(
                "a group was not taken, its batches go by themselves",
                partitions=[each.before.partition for each in batches],
                finding=f"{type(error).__name__}: {error}"[:1000],
            )
            return False
        return True


def _resolve(group: Sequence[_Waiting], *, written: bool) -> None:
    for each in group:
        if not each.done.done():
            each.done.set_result(written)


def _fail(group: Sequence[_Waiting], error: BaseException) -> None:
    for each in group:
        if isinstance(error, asyncio.CancelledError):
            each.done.cancel()
        elif not each.done.done():
            each.done.set_exception(error)
