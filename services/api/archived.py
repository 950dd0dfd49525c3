"""Waiting for the archive: a write is acknowledged once the projector has it in Postgres (DESIGN §7).

The projector publishes each partition's watermark after its commit. That is heard by one subscriber a
process; a message may be lost, so the checkpoints are read too while somebody waits.
"""

from __future__ import annotations

import asyncio
import heapq
from enum import Enum
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, cast

from shared.eventlog.position import START, BadPosition, Position
from shared.faults import is_broken
from shared.loop import repeat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from services.api.ledger import Ledger
    from shared.eventlog.log import EventLog
    from shared.loop import Stop

LISTEN_S = 1.0  # a round; well below the client's socket timeout
POLL_S = 0.25
_Waiter = tuple[Position, int, "asyncio.Future[Position | None]"]


class Fate(Enum):
    """What became of an event."""

    ARCHIVED = "archived"
    LATE = "late"  # not archived within the time given
    LOST = "lost"  # the log was opened anew without it


class Archive:
    """The watermark of each partition, and those who wait for it.

    Args:
        log: names the channels.
        subscriber: a client for blocking reads.
        ledger: knows the checkpoints.
    """

    def __init__(self, *, log: EventLog, subscriber: Redis, ledger: Ledger) -> None:
        self._channels = {
            log.keys(partition).archived.encode(): partition for partition in range(log.partitions)
        }
        self._subscriber = subscriber
        self._ledger = ledger
        self._marks = [START] * log.partitions
        self._waiters: list[list[_Waiter]] = [[] for _ in range(log.partitions)]
        self._numbers = count()
        self._wanted = asyncio.Event()

    async def run(self, stop: Stop) -> None:
        """Follow the watermark until `stop` is set."""
        rounds: dict[str, Callable[[], Awaitable[float | None]]] = {
            "watermark": partial(self._listen, stop),
            "checkpoints": self._poll,
        }
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(repeat(round_, stop=stop, name=name), name=name)
                for name, round_ in rounds.items()
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()  # they only read

    def mark(self, partition: int) -> Position:
        """Up to where a partition is archived, as far as was heard."""
        return self._marks[partition]

    async def fate(self, partition: int, position: Position, event_id: str | None, wait_s: float) -> Fate:
        """Wait until the event at `position` is archived, at most `wait_s`.

        Args:
            partition: where it is.
            position: its own, of whatever epoch.
            event_id: its id; None if only the position is known.
            wait_s: 0 to look only.
        """
        mark = await self._reached(partition, position, wait_s)
        if mark is None:
            return Fate.LATE
        if mark.epoch == position.epoch:
            return Fate.ARCHIVED
        try:
            there = await self._ledger.is_archived(partition, position, event_id)
        except Exception as error:
            if not is_broken(error):
                raise
            return Fate.LATE  # the archive can't be asked
        return Fate.ARCHIVED if there else Fate.LOST

    async def beyond(self, partition: int, position: Position) -> Position:
        """Wait until more than what is up to `position` is archived, and return the watermark."""
        return cast("Position", await self._reached(partition, Position(position.epoch, position.pos + 1)))

    def reached(self, partition: int, mark: Position) -> None:
        """Note that everything up to `mark` is archived, and wake who waited for it."""
        if mark <= self._marks[partition]:
            return
        self._marks[partition] = mark
        waiters = self._waiters[partition]
        while waiters and waiters[0][0] <= mark:
            _, _, future = heapq.heappop(waiters)
            if not future.done():
                future.set_result(mark)

    async def _reached(
        self, partition: int, position: Position, wait_s: float | None = None
    ) -> Position | None:
        """The first watermark seen at or beyond `position`; a newer epoch is beyond any older one.

        None after `wait_s`.
        """
        mark = self._marks[partition]
        if mark >= position:
            return mark
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Position | None] = loop.create_future()
        heapq.heappush(self._waiters[partition], (position, next(self._numbers), future))
        self._wanted.set()
        if wait_s is None:
            return await future
        late = loop.call_later(
            wait_s, _give_up, future
        )  # every write passes here: half of what asyncio.timeout takes
        try:
            return await future
        finally:
            late.cancel()

    async def _listen(self, stop: Stop) -> None:
        """Subscribe, and take messages for as long as the connection lasts."""
        async with self._subscriber.pubsub() as messages:
            await messages.subscribe(*self._channels)
            while not stop.is_set():  # a cancel may be lost in a read (Python 3.11)
                message = await messages.get_message(ignore_subscribe_messages=True, timeout=LISTEN_S)
                if message is not None:
                    self._hear(message["channel"], message["data"])

    def _hear(self, channel: bytes, text: bytes) -> None:
        try:
            self.reached(self._channels[channel], Position.parse(text.decode()))
        except (BadPosition, UnicodeDecodeError):
            return  # anybody may publish; the checkpoints tell the truth

    async def _poll(self) -> float:
        """While somebody waits, read the checkpoints."""
        self._forget_gone()
        if not any(self._waiters):
            self._wanted.clear()
            await self._wanted.wait()
            return POLL_S
        for partition, mark in await self._ledger.checkpoints():
            if partition < len(self._marks):
                self.reached(partition, mark)
        return POLL_S

    def _forget_gone(self) -> None:
        """Drop those who have given up waiting."""
        for partition, waiters in enumerate(self._waiters):
            left = [waiter for waiter in waiters if not waiter[2].done()]
            if len(left) < len(waiters):
                heapq.heapify(left)
                self._waiters[partition] = left


def _give_up(future: asyncio.Future[Position | None]) -> None:
    if not future.done():
        future.set_result(None)
