"""Planning the jobs of a partition anew when the zone tables have changed: which tables they go by, and the walk.

Which version that is stands in a key of the partition (`Keys.tzdata`), which is a note and no fact: where it is lost,
or a walk ends half-way, all jobs are looked at again, and those that have been planned anew already stay as they are.
"""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from shared import logs
from shared.domain.commands import ReplanJob
from shared.domain.events import ScheduleReplanned
from shared.domain.job import Job
from shared.domain.refusals import NoSuchJob
from shared.domain.replanning import has_moved
from shared.domain.zones import is_newer
from shared.eventlog.cluster import serving
from shared.eventlog.script import Script
from shared.eventlog.snapshot import NewerShape
from shared.eventlog.writer import LogFull
from shared.faults import is_broken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shared.eventlog.decider import Decided, Decider
    from shared.eventlog.envelope import Context
    from shared.eventlog.log import EventLog

SCANNED = 1_000  # keys a round trip
AT_ONCE = 20  # jobs whose next occurrence may have to be searched for: some 10 ms of a timer at most
REST_S = 0.01  # between them


class Planned(NamedTuple):
    """By which zone tables the jobs of a partition are planned.

    Attributes:
        version: '' if that was never noted.
        before: the version before it, likewise.
        since_ms: when it was noted.
        walked: whether all jobs have been looked at since.
    """

    version: str = ""
    before: str = ""
    since_ms: int = 0
    walked: bool = False


class Walked(NamedTuple):
    """How many jobs were looked at, and how many were planned anew."""

    jobs: int
    moved: int


class Replan:
    """Plans jobs by the zone tables that this process has.

    Args:
        log: of the deployment.
        decider: over it.
        tables: their version.
        tell: is told what was decided; that may begin with what had fallen due.
    """

    def __init__(
        self,
        log: EventLog,
        decider: Decider,
        *,
        tables: str,
        tell: Callable[[Decided], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._decider = decider
        self._tables = tables
        self._tell = tell
        self._words = logs.get("daybook.replan")
        self._note = Script(
            resources.files("shared.eventlog").joinpath("replan.lua").read_text(encoding="utf-8")
        )

    async def planned(self, partition: int) -> Planned:
        """What is noted of a partition."""
        key = self._log.keys(partition).tzdata
        ((version, before, since, walked),) = await self._log.wire.replies(
            ("HMGET", key, "version", "before", "since", "walked")
        )
        if version is None:
            return Planned()
        return Planned(version.decode(), (before or b"").decode(), int(since or 0), walked == b"1")

    def is_older(self, planned: Planned) -> bool:
        """Whether these tables are older than those that the partition is planned by: then they are not to be used."""
        return bool(planned.version) and is_newer(planned.version, self._tables)

    async def __call__(
        self,
        partition: int,
        planned: Planned,
        actor: Context,
        *,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Walked | None:
        """Look at all jobs of a partition.

        None if another has noted other tables meanwhile, or it is not to `go_on`. It may be broken off at any moment,
        and be done again, at once or by several.
        """
        if not await self._noted(partition, planned.version, walked=False):
            return None
        before = planned.before if planned.version == self._tables else planned.version
        command = ReplanJob(tables=self._tables, before=before or None)
        jobs = moved = 0
        async for refs in self._refs(partition):
            for first in range(0, len(refs), AT_ONCE):
                some = refs[first : first + AT_ONCE]
                jobs += len(some)
                moved += sum(await asyncio.gather(*(self._look(ref, command, actor) for ref in some)))
                await asyncio.sleep(REST_S)
                if not go_on():
                    return None
        if not await self._noted(partition, self._tables, walked=True):
            return None
        return Walked(jobs, moved)

    async def _noted(self, partition: int, seen: str, *, walked: bool) -> bool:
        keys = [self._log.keys(partition).tzdata]
        return bool(await self._note(self._log.redis, keys, [seen, self._tables, "1" if walked else "0"]))

    async def _refs(self, partition: int) -> AsyncIterator[list[str]]:
        """Refs of the partition's jobs, of a page of keys at a time; some may come twice."""
        base = f"{self._log.keys(partition).base}:"
        server = await serving(self._log.redis, base)
        cursor = 0
        while True:
            found: Any = await server.scan(cursor, match=f"{base}job:*", count=SCANNED)
            cursor, keys = found
            yield [key.decode().removeprefix(base) for key in keys]
            if not cursor:
                return

    async def _look(self, ref: str, command: ReplanJob, actor: Context) -> bool:
        """Whether a job's next occurrence had moved, and was planned anew."""
        try:
            job = (await self._log.load(ref))[ref].state
            if not isinstance(job, Job) or not has_moved(job, self._log.now(self._log.partition_of(ref))):
                return False
            decided = await self._decider.decide(ref, command, actor)
        except (
            NoSuchJob,
            NewerShape,
            LogFull,
        ):  # deleted meanwhile; a newer replica's; due, and left to its wake
            return False
        except Exception as error:
            if is_broken(error):
                raise
            self._words.exception("job could not be planned anew", ref=ref)  # one must not stop the rest
            return False
        self._tell(decided)
        return any(isinstance(change.event, ScheduleReplanned) for change in decided.changes)
