"""What stands beside a run or a decision, and is told with it: what asked for it, and what happened meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api.explaining import occurrence, run
from services.api.explaining.finding import at_of
from shared.domain import ids
from shared.domain.events import OUTCOMES, RunRequested
from shared.eventlog.position import BadPosition, parse_places

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from services.api.explaining.reading import Reading
    from shared.domain.events import OccurrencesSkipped
    from shared.domain.job import Job
    from shared.eventlog.envelope import Recorded

ENDS = tuple(event.__name__ for event in OUTCOMES)
ANY = (1 << 63) - 1  # no pos lies beyond


class Surroundings:
    """Asks for it."""

    def __init__(self, reading: Reading) -> None:
        self._read = reading

    async def of_run(self, events: Sequence[Recorded]) -> run.Beside:
        """What stands beside the events of a run."""
        read, first = self._read, events[0]
        requested, run_id = requested_by(first), first.subject.removeprefix("run/")
        job = None
        if requested.trigger == "schedule" or requested.held:
            job = await read.job_state(requested.job_id, first.position.pos - 1)
        around = occurrence.Around()
        if requested.trigger == "schedule":
            around = await self._of_fire(first, requested, job)
        return run.Beside(
            around=around,
            behind=() if job is None or not requested.held else (*job.active, *job.waiting),
            origin=await self._origin(requested),
            meanwhile=await self._meanwhile(run_id, events, requested),
            relay=await read.after(f"relay/{run_id}", limit=2),
            until=read.until,
        )

    async def _meanwhile(
        self, run_id: str, events: Sequence[Recorded], requested: RunRequested
    ) -> dict[int, run.Meanwhile]:
        """What executors did while it waited: of the first two stays in its queue, and the last."""
        read, waits = self._read, run.waits(events)
        found = {}
        for wait in dict.fromkeys((*waits[:2], *waits[-1:])):
            left_at = read.until if wait.left is None else at_of(wait.left)
            queued_at = at_of(wait.queued)
            if left_at > queued_at:
                queue = requested.spec.queue
                found[wait.queued.position.pos] = await read.meanwhile(queue, run_id, queued_at, left_at)
        return found

    async def _origin(self, requested: RunRequested) -> Recorded | None:
        """The event behind a run."""
        if requested.backfill is not None:
            found = await self._read.after(f"backfill/{requested.backfill}", "BackfillRequested")
        elif requested.trigger in {"retry", "chain"} and requested.of:
            found = await self._read.before(f"run/{requested.of}", *ENDS, upto=ANY)
        else:
            found = []
        return found[0] if found else None

    async def _of_fire(self, first: Recorded, requested: RunRequested, job: Job | None) -> occurrence.Around:
        read, subject, pos = self._read, f"job/{requested.job_id}", first.position.pos
        paused = resumed = None
        if job is not None and job.catching_up is not None:
            paused = _first(await read.before(subject, "JobPaused", upto=pos))
            resumed = _first(await read.before(subject, "JobResumed", upto=pos))
        due_at = requested.fires_at if resumed is None else at_of(resumed)
        is_late = occurrence.needs_silence(due_at, first)
        quiet = await read.silence(due_at, first) if is_late else None
        return occurrence.Around(job=job, silence=quiet, paused=paused, resumed=resumed)

    async def of_skip(
        self, job_id: str, recorded: Recorded, event: OccurrencesSkipped, at: datetime
    ) -> occurrence.Around:
        """What stands beside a skip."""
        read, subject, pos = self._read, f"job/{job_id}", recorded.position.pos
        job = await read.job_state(job_id, pos - 1)
        paused = resumed = excluded = named = None
        match event.reason:
            case "paused":
                paused = _first(await read.before(subject, "JobPaused", upto=pos))
                resumed = _first(
                    await read.after(subject, "JobResumed", "JobUpdated", "JobDeleted", above=pos)
                )
            case "edited":
                resumed = _first(await read.after(subject, "JobUpdated", above=pos))
            case "deleted":
                resumed = _first(await read.after(subject, "JobDeleted", above=pos))
            case "excluded":
                excluded = (await read.wishes(job_id, pos)).get(at)
            case "calendar":
                named = await self._calendar(event.by or "")
            case "overlap":
                named = _first(await read.after(f"run/{event.by}", "RunRequested"))
            case _:
                pass
        due_at = job.fires_next_at if job is not None and job.next_for == at and job.fires_next_at else at
        is_late = occurrence.needs_silence(due_at, recorded)
        quiet = await read.silence(due_at, recorded) if is_late else None
        return occurrence.Around(job, quiet, paused, resumed, excluded, named)

    async def _calendar(self, seen: str) -> Recorded | None:
        """The event after which a calendar was seen: `<name>@<partition>:<position>`."""
        try:
            ((partition, position),) = parse_places(
                seen.rpartition("@")[2], partitions=ids.PARTITIONS_MAX
            ).items()
        except (BadPosition, ValueError):
            return None
        return await self._read.event_at(partition, position.pos)


def requested_by(recorded: Recorded) -> RunRequested:
    """The event as one that asked for a run."""
    event = recorded.change().event
    assert isinstance(event, RunRequested)  # noqa: S101 - the question was for no other
    return event


def _first(found: Sequence[Recorded]) -> Recorded | None:
    return found[0] if found else None
