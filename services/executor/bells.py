"""Doorbells: one blocking connection for each partition, listened to while there are free slots."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from shared.eventlog.cluster_wire import wire_to
from shared.lifecycle import repeat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from shared.eventlog.log import EventLog
    from shared.lifecycle import Stop

CAP_S = 1.0  # a bell only wakes: one that is lost costs so much


class Bells:
    """What wakes an idle executor.

    Args:
        redis: a client for blocking reads.
        log: whose partitions.
        queues: the queues it serves.
    """

    def __init__(self, redis: Redis, log: EventLog, *, queues: Sequence[str]) -> None:
        self._wires = [wire_to(redis, blocking=True) for _ in range(log.partitions)]
        self._lists = [[log.keys(p).bell(queue) for queue in queues] for p in range(log.partitions)]
        self._wanted = asyncio.Event()
        self._awake = asyncio.Event()
        self.rung: set[int] = set()  # partitions whose bell was taken down since the last `answer`

    async def listen(self, stop: Stop) -> None:
        """Take bells down until cancelled: an executor that is busy leaves them to others."""
        async with asyncio.TaskGroup() as group:
            for partition, lists in enumerate(self._lists):
                name = f"bell:{partition}"
                group.create_task(
                    repeat(partial(self._listen_once, partition, lists), stop=stop, name=name), name=name
                )

    async def _listen_once(self, partition: int, lists: list[str]) -> None:
        await self._wanted.wait()
        if (await self._wires[partition].replies(("BLPOP", *lists, str(CAP_S))))[0] is not None:
            self.rung.add(partition)
            self._awake.set()

    def close(self) -> None:
        """Hang up."""
        for wire in self._wires:
            wire.close()

    def answer(self) -> set[int]:
        """The partitions that have rung since this was last asked."""
        rung, self.rung = self.rung, set()
        return rung

    def wake(self) -> None:
        """End the sleep under way, or the next one."""
        self._awake.set()

    async def sleep(self, *, listening: bool) -> None:
        """Return when a bell is rung, at `wake`, or after CAP_S.

        `listening`: whether to take bells down meanwhile.
        """
        (self._wanted.set if listening else self._wanted.clear)()
        try:
            async with asyncio.timeout(CAP_S):
                await self._awake.wait()
        except TimeoutError:
            pass
        self._awake.clear()
