"""What waits for one stream's client: bounded, whatever the client does."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING

from shared.eventlog.envelope import cloudevent, event_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.api.event_filter import EventFilter
    from shared.eventlog.envelope import Recorded
    from shared.eventlog.position import Position

QUEUE_MAX = 5_000  # events that may wait for a client
QUEUE_BYTES_MAX = 8 * 1024 * 1024  # and their data
BEHIND = QUEUE_MAX // 10  # with so many it counts as behind
LINGER_S = 60.0  # how long a client that was too slow may take to hear of it


class Told:
    """An event, and its text in a stream: made once, when the first client is sent it."""

    def __init__(self, event: Recorded, prefix: str) -> None:
        self.event = event
        self._prefix = prefix

    @cached_property
    def text(self) -> str:
        """All but the id, which each client has its own of."""
        data = json.dumps(cloudevent(self.event, prefix=self._prefix))
        return f"event: {event_type(self.event.type)}\ndata: {data}\n"


class Listener:
    """The queue of one client. Make it in the task that writes to the client.

    Attributes:
        is_slow: more came than may wait; what waited is dropped, and nothing is added any more.
        is_over: the process ends.

    Args:
        wants: what the client has asked for.
    """

    def __init__(self, wants: EventFilter) -> None:
        self.is_slow = False
        self.is_over = False
        self._wants = wants
        self._from: Sequence[int] = ()
        self._queue: deque[Told] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._task = asyncio.current_task()
        self._end: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._queue)

    @property
    def is_behind(self) -> bool:
        """Whether it would be kind to wait for this client."""
        return len(self._queue) > BEHIND

    def begin(self, at: Sequence[Position]) -> None:
        """Keep nothing of what is up to `at` in each partition: the client has it."""
        self._from = [position.pos for position in at]

    def offer(self, partition: int, told: Sequence[Told], tenants: Sequence[str | None]) -> None:
        """Keep those of these events that are wanted; `tenants` says whose each is."""
        begin = self._from[partition]
        for each, tenant in zip(told, tenants, strict=True):
            if each.event.position.pos > begin and self._wants.fits(each.event, tenant):
                self._queue.append(each)
                self._bytes += len(each.event.data)
        if len(self._queue) > QUEUE_MAX or self._bytes > QUEUE_BYTES_MAX:
            self.is_slow = True
            self._dismiss()
        elif self._queue:
            self._news.set()

    def end(self) -> None:
        """The process ends, and the stream with it."""
        self.is_over = True
        self._news.set()

    def take(self, most: int, most_bytes: int) -> list[Told]:
        """The oldest of what waits: at most so many, and no more once they have so many bytes of data."""
        taken: list[Told] = []
        size = 0
        while self._queue and len(taken) < most and size < most_bytes:
            taken.append(self._queue.popleft())
            size += len(taken[-1].event.data)
        self._bytes -= size
        return taken

    async def news(self, wait_s: float) -> None:
        """Wait until something came, at most `wait_s`."""
        if not (self._queue or self.is_slow or self.is_over):
            self._news.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """The client is gone, or has been told all."""
        self._queue.clear()
        if self._end is not None:
            self._end.cancel()

    def _dismiss(self) -> None:
        """Drop what waits. A client that takes nothing any more, not even the end, leaves its seat in the end."""
        self._queue.clear()
        self._bytes = 0
        self._news.set()
        if self._task is not None:
            self._end = asyncio.get_running_loop().call_later(LINGER_S, self._task.cancel)
