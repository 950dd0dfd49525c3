"""What explanations ask Postgres: slices of the archive around a time, and states as they were. Each is bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.api.explaining.run import Meanwhile
from services.api.explaining.silence import TIMER, Silence
from services.api.explaining.standing import OWN
from shared.domain.job import Job
from shared.readmodel import archive
from shared.readmodel.database import sql
from shared.recovery import recorded
from shared.recovery.looking_back import Span, jobs_as_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shared.eventlog.envelope import Recorded
    from shared.readmodel.archive import Connection
    from shared.recovery.brought_forward import Brought

LOOKED_AT = 20_000  # events of a partition or of a job's story that are looked through for one: some 30 ms
RUN_EVENTS = 1_000  # of one run: more than 200 attempts
TIMERS = 20  # events of timers, and openings of the log, looked at after something was due
WISHES = 100  # to skip an occurrence, looked at for that of one
SIGNS = 2_000  # events of executors looked at in all partitions together, some 20 µs each
SIGNS_MIN = 50  # of them, in each partition
AMONG = 10  # so many events for each of them, whoever's they are
SHOWN = 20  # of them, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Questions about one partition, as of one moment.

    Attributes:
        connection: that sees the archive standing still.
        partition: of the job and its runs.
        since: the pos after which its archive begins.
        tail: the last pos in it.
        until: the time up to which it tells all.
        partitions: how many there are.
        tenant: whose events may be shown where others stand among them; None: all.
    """

    connection: Connection
    partition: int
    since: int
    tail: int
    until: datetime
    partitions: int
    tenant: str | None

    async def pos_before(self, at: datetime) -> int:
        """The pos of the last event of the partition before a time."""
        row = await self.connection.fetchrow(_text("horizon"), self.partition, at)
        assert row is not None  # noqa: S101 - it is the value of a function
        return int(row["pos"])

    async def job(self, job_id: str, upto: int) -> Brought | None:
        """The job as it was after the event at a pos; None: it wasn't there.

        Raises:
            TooFar, NewerShape, UnknownEvent: see `looking_back.jobs_as_of`.
        """
        if upto < self.since:
            return None
        known, _ = await jobs_as_of(self.connection, {job_id: Span(self.since, upto)})
        return known.get(job_id)

    async def job_state(self, job_id: str, upto: int) -> Job | None:
        """Its state alone."""
        found = await self.job(job_id, upto)
        return found.state if found is not None and isinstance(found.state, Job) else None

    async def before(self, subject: str, *types: str, upto: int, limit: int = 1) -> list[Recorded]:
        """The last events about something that are of these types, the newest first."""
        return await self._asked("before", subject, list(types), upto, limit)

    async def after(self, subject: str, *types: str, above: int = 0, limit: int = 1) -> list[Recorded]:
        """The first events about something; of these types, or any."""
        return await self._asked("after", subject, list(types) or None, above, limit)

    async def run(self, run_id: str) -> list[Recorded]:
        """The events of a run but for its output."""
        return await self.after(f"run/{run_id}", limit=RUN_EVENTS)

    async def last_of_each(self, subject: str, types: Sequence[str], upto: int) -> dict[str, Recorded]:
        """The last event of each type about something."""
        return {each.type: each for each in await self._asked("last", subject, list(types), upto)}

    async def own(self, job_id: str, upto: int) -> dict[str, Recorded]:
        """The last of each of a job's own events that tell where it stands."""
        return await self.last_of_each(f"job/{job_id}", OWN, upto)

    async def wishes(self, job_id: str, upto: int) -> dict[datetime, Recorded]:
        """The latest wishes to skip an occurrence of a job, by the time of that."""
        found = await self.before(f"job/{job_id}", "OccurrenceExcluded", upto=upto, limit=WISHES)
        return {each.change().event.scheduled_for: each for each in reversed(found)}  # type: ignore[attr-defined]

    async def decisions(self, job_id: str, above: int, limit: int) -> list[Recorded]:
        """What the schedule of a job decided from a pos on."""
        return await self._asked("decisions", job_id, above, limit, LOOKED_AT)

    async def is_long(self, job_id: str, above: int) -> bool:
        """Whether more follows on a pos in the story of a job than `decisions` looks through."""
        return bool(await self.connection.fetchval(_text("is_long"), job_id, above, LOOKED_AT))

    async def requests(self, job_id: str, above: int, upto: int, limit: int) -> list[Recorded]:
        """The runs of a job that were asked for between two positions."""
        return await self._asked("requests", job_id, above, upto, limit)

    async def announcer(self, job_id: str, upto: int) -> Recorded | None:
        """The event that announced the job's next occurrence."""
        return _first(await self._asked("announcer", job_id, upto, LOOKED_AT))

    async def event_at(self, partition: int, pos: int) -> Recorded | None:
        """An event by its place."""
        row = await archive.find(self.connection, partition, pos)
        return None if row is None else recorded(row)

    async def silence(self, due_at: datetime, decided: Recorded | None) -> Silence:
        """What the log has from when something was due until it was decided."""
        due = await self.pos_before(due_at)
        found = await self._asked("timers_after", self.partition, due, LOOKED_AT, TIMERS)
        last = self.tail if decided is None else decided.position.pos
        told = [each for each in found if each.position.pos <= last]
        timers = [each for each in told if each.actor == TIMER and each.subject != "log"]
        return Silence(
            due_at=due_at,
            decided=decided,
            before=_first(await self._asked("timers_before", self.partition, due, LOOKED_AT)),
            after=_first(timers),
            opened=tuple(each for each in told if each.subject == "log"),
            until=self.until,
        )

    async def meanwhile(self, queue: str, run_id: str, since: datetime, until: datetime) -> Meanwhile:
        """What executors did for a queue between two times, but for a run."""
        looked_at = max(SIGNS_MIN, SIGNS // self.partitions)
        row = await self.connection.fetchrow(
            _text("queue"), queue, since, until, run_id, looked_at, self.tenant, SHOWN, AMONG * looked_at
        )
        assert row is not None  # noqa: S101 - it has counts
        places = zip(row["partitions"] or (), row["places"] or (), strict=True)
        shown = [await self.event_at(partition, pos) for partition, pos in places]
        return Meanwhile(
            starts=row["starts"],
            signs=row["signs"],
            is_capped=row["is_capped"],
            shown=tuple(each for each in shown if each is not None),
            at_work=await self._at_work(queue) if until == self.until else 0,
        )

    async def _at_work(self, queue: str) -> int:
        row = await self.connection.fetchrow(_text("at_work"), queue, SIGNS)
        return 0 if row is None else int(row["runs"])

    async def _asked(self, question: str, *arguments: Any) -> list[Recorded]:
        return [recorded(row) for row in await self.connection.fetch(_text(question), *arguments)]


def _first(found: Sequence[Recorded]) -> Recorded | None:
    return found[0] if found else None


def _text(question: str) -> str:
    return sql("services.api", f"queries/explain_{question}.sql")
