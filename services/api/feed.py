"""What happens, as it happens: one reader of the log for a whole process, who hands events on to all streams.

Only what is archived is handed on: what Redis alone has may be lost with it, and would have to be taken back. The
watermark tells how far that is. Events up to there are read from the log, or from the archive where the log hasn't got
them any more or has begun anew. While nobody listens nothing is read.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from services.api.listener import Told
from shared.eventlog.cluster_wire import wire_to
from shared.eventlog.envelope import from_pairs
from shared.eventlog.reader import Hole, check_order
from shared.loop import repeat
from shared.recovery import recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.api.archived import Archive
    from services.api.ledger import Ledger
    from services.api.listener import Listener
    from shared.eventlog.envelope import Recorded
    from shared.eventlog.log import EventLog
    from shared.eventlog.position import Position
    from shared.loop import Stop

PAGE = 500  # events read at a time
PACE_S = 0.05  # from page to page while somebody is behind: a flood must not overrun those who do read
AGAIN_S = 0.1  # until the archive is asked again for what it has announced
TENANTS_MAX = 20_000  # jobs and keys of which a process remembers whose they are
_KEY = "apikey/"


class Feed:
    """The reader.

    Attributes:
        is_over: whether the process ends; who joins then is ended at once.

    Args:
        log: names the streams, and has a client for them.
        archive: knows what is archived.
        ledger: has what the log hasn't any more, and knows whose events are.
        walled: whether some may not see everything.
    """

    def __init__(self, *, log: EventLog, archive: Archive, ledger: Ledger, walled: bool) -> None:
        self.is_over = False
        self._log = log
        self._archive = archive
        self._ledger = ledger
        self._walled = walled
        self._wire = wire_to(log.redis)
        self._present: set[Listener] = set()
        self._listeners: set[Listener] = set()  # those of them who have caught up
        self._at: list[Position] = []
        self._ids: list[str] = []
        self._tenants: dict[str, str] = {}
        self._wanted, self._unwanted = asyncio.Event(), asyncio.Event()

    @property
    def at(self) -> list[Position] | None:
        """Up to where everything was handed on, in each partition; None while nobody listens."""
        return list(self._at) if self._listeners else None

    async def run(self, stop: Stop) -> None:
        """Read for whoever listens, until `stop` is set."""
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(self._serve(stop), name="feed")
            await stop.wait()
            serving.cancel()  # it only reads
        self.end()
        self._wire.close()

    def enter(self, listener: Listener) -> None:
        """Let it know when the process ends."""
        self._present.add(listener)
        if self.is_over:
            listener.end()

    def join(self, listener: Listener, at: Sequence[Position]) -> list[Position]:
        """Hand on to `listener` what comes after the returned vector: where the others are, else where it is itself."""
        if not self._listeners:
            self._at = list(at)
            self._ids = [""] * len(at)
            self._unwanted.clear()
            self._wanted.set()
        listener.begin(at)
        self._listeners.add(listener)
        return list(self._at)

    def leave(self, listener: Listener) -> None:
        """Forget it."""
        self._present.discard(listener)
        listener.close()
        self._part(listener)

    def end(self) -> None:
        """End all streams: the process ends."""
        self.is_over = True
        for listener in self._present:
            listener.end()

    def _part(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        if not self._listeners:
            self._wanted.clear()
            self._unwanted.set()

    async def _serve(self, stop: Stop) -> None:
        while True:
            await self._wanted.wait()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        repeat(partial(self._round, number), stop=stop, name=f"feed {number}"),
                        name=f"feed {number}",
                    )
                    for number in range(self._log.partitions)
                ]
                await self._unwanted.wait()
                for task in tasks:
                    task.cancel()

    async def _round(self, partition: int) -> float | None:
        """Hand on a page of what is archived and wasn't yet; return how long to pause."""
        after, after_id = self._at[partition], self._ids[partition]
        mark = await self._archive.beyond(partition, after)
        events = await self._read(partition, after, after_id, mark)
        if not events:
            return AGAIN_S
        tenants = await self._owners(events)
        if self._at[partition] != after:
            return None  # all have gone and others have come meanwhile
        self._at[partition], self._ids[partition] = events[-1].position, events[-1].id
        told = [Told(event, self._log.prefix) for event in events]
        for listener in list(self._listeners):
            listener.offer(partition, told, tenants)
            if listener.is_slow:
                self._part(listener)
        return PACE_S if any(each.is_behind for each in self._listeners) else None

    async def _read(self, partition: int, after: Position, after_id: str, mark: Position) -> list[Recorded]:
        """The next events up to `mark`: the log's if they follow, else the archive's."""
        command = ("XRANGE", self._log.keys(partition).log, f"({after}", str(mark), "COUNT", PAGE)
        (entries,) = await self._wire.replies(command)
        try:
            events = [from_pairs(partition, *entry) for entry in entries]
            check_order(partition, after, after_id, events)
        except (Hole, ValueError):
            events = []
        if events:
            return events
        return [recorded(row) for row in await self._ledger.archived_after(partition, after.pos, limit=PAGE)]

    async def _owners(self, events: Sequence[Recorded]) -> list[str | None]:
        """Whose each event is; None for nobody's, and for all where that makes no difference."""
        if not self._walled:
            return [None] * len(events)
        if len(self._tenants) > TENANTS_MAX:
            self._tenants.clear()
        subjects = [_owned(event) for event in events]
        unknown = {each for each in subjects if each is not None and each not in self._tenants}
        if unknown:
            keys = [each.removeprefix(_KEY) for each in unknown if each.startswith(_KEY)]
            jobs = [each for each in unknown if not each.startswith(_KEY)]
            for name, tenant in (await self._ledger.tenants(jobs, keys)).items():
                self._tenants[name if name in unknown else _KEY + name] = tenant
        return [
            _told(event) if each is None else self._tenants.get(each)
            for event, each in zip(events, subjects, strict=True)
        ]


def _told(event: Recorded) -> str | None:
    """Whose an event is that says so itself: a calendar's name begins with its tenant."""
    kind, _, identifier = event.subject.partition("/")
    return identifier.partition(":")[0] if kind == "calendar" else None


def _owned(event: Recorded) -> str | None:
    """What an owner is known of: a job's id, or `apikey/<hash>`."""
    if event.subject.startswith("job/"):
        return event.subject.removeprefix("job/")
    return event.job or (event.subject if event.subject.startswith(_KEY) else None)
