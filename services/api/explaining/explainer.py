"""The explainer: asks the archive what a question needs, and has the findings put into words.

```
 of_job_at ── decided?  ── ran ─▶ the run's story      skipped ─▶ why
                 │ no
                 ├── an occurrence then? ── paused, overdue
                 └── none ─▶ why not: not there, no schedule, rules, an edit, newer zone tables
```
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from services.api.explaining import absence, occurrence, run, silence, standing
from services.api.explaining.codes import Code
from services.api.explaining.finding import Explanation, Words, at_of, sentence_of
from shared.domain import ids
from shared.domain.events import OccurrencesSkipped, RunRequested
from shared.domain.job import Job, Status
from shared.domain.preview import Dropped, Planned, TooFar, upcoming
from shared.domain.schedule import TICK
from shared.eventlog.position import BadPosition, parse_places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from services.api.explaining.absence import Asked
    from services.api.explaining.finding import Finding
    from services.api.explaining.reading import Reading
    from shared.domain.calendars import Seen
    from shared.eventlog.envelope import Recorded

FIRST_LOOK, SECOND_LOOK = (
    8,
    4_000,
)  # decisions: nearly always it is among the first; a long backlog is as long as that
EDITS = 10  # of the schedule, looked at for an occurrence that one of them took away
OTHERS = 3  # runs that somebody asked for in the same second
AHEAD = 20  # what is left out before the next run, shown


class Decision(NamedTuple):
    """What the schedule has decided about an occurrence."""

    recorded: Recorded
    at: datetime


class Explainer:
    """Explanations of one partition's jobs and runs.

    Args:
        reading: what is asked.
        calendars: those that the job names, as they are now: for what is to come.
    """

    def __init__(self, reading: Reading, calendars: Mapping[str, Seen]) -> None:
        self._read = reading
        self._calendars = calendars

    @property
    def until(self) -> datetime:
        """Up to when the archive is known to tell all."""
        return self._read.until

    # A job at a time.

    async def of_job_at(self, job_id: str, asked: Asked) -> Explanation:
        """Why the job ran, or did not, at a time."""
        read = self._read
        job = await read.job_state(job_id, await read.pos_before(asked.at))
        known = job or await read.job_state(job_id, read.tail)
        words = Words("UTC" if known is None else known.spec.schedule.timezone, asked.at)
        if known is not None:
            change = absence.left_out_by_the_clock(asked, known.spec.schedule)
            if change is not None and not absence.has_moved_to(known.spec.schedule, change.at):
                made = standing.made(await self._own(job_id, read.tail))
                found = absence.without_that_time(asked, change.at, words, made)
                return Explanation(sentence_of([found.sentence]), [found], words.timezone)
            asked = asked if change is None else asked._replace(at=change.at)
        if asked.at > read.until:
            return await self._of_the_future(job_id, asked, words)
        then = await read.pos_before(asked.at)
        others = await self._others(job_id, asked)
        decision = await self._decision(job_id, job, asked)
        if decision is not None:
            findings = await self._decided(job_id, decision, words)
        elif others:
            findings = []
        else:
            findings = await self._undecided(job_id, job, asked, then, words)
        summary = _summary_at(decision, findings, words)
        for each in others:
            story = await self._story(await read.run(each), words)
            summary = summary or sentence_of([story[0].sentence, story[-1].sentence])
            findings += story
        return Explanation(summary, findings, words.timezone)

    async def _others(self, job_id: str, asked: Asked) -> list[str]:
        """Runs that something else than the schedule asked for in that second."""
        read = self._read
        above, upto = await read.pos_before(asked.at), await read.pos_before(asked.end)
        found = await read.requests(job_id, above, upto, limit=100)
        runs = [each.subject.removeprefix("run/") for each in found if _requested(each).trigger != "schedule"]
        return runs[:OTHERS]

    async def _decision(self, job_id: str, job: Job | None, asked: Asked) -> Decision | None:
        """What was decided about an occurrence in that second. No decision comes before its occurrence."""
        above = await self._read.pos_before(
            asked.at - absence.SECOND
        )  # processes look at their clocks before they write
        for limit in (FIRST_LOOK, SECOND_LOOK):
            found = await self._read.decisions(job_id, above, limit)
            for recorded in found:
                at, is_beyond = _covers(recorded, job, asked)
                if at is not None:
                    return Decision(recorded, at)
                if is_beyond:
                    return None
            if len(found) < limit:
                return None
        return None

    async def _decided(self, job_id: str, decision: Decision, words: Words) -> list[Finding]:
        recorded = decision.recorded
        event = recorded.change().event
        if isinstance(event, RunRequested):
            return await self._story(await self._read.run(recorded.subject.removeprefix("run/")), words)
        assert isinstance(event, OccurrencesSkipped)  # noqa: S101 - nothing else is a decision
        around = await self._around_skip(job_id, recorded, event, decision.at)
        return list(occurrence.skipped(recorded, event, decision.at, around, words))

    async def _undecided(
        self, job_id: str, job: Job | None, asked: Asked, then: int, words: Words
    ) -> list[Finding]:
        read, subject = self._read, f"job/{job_id}"
        if job is None:
            made = await read.after(subject, "JobCreated")
            return [absence.not_created(made[0] if made else None, asked, words)]
        own = await self._own(job_id, then)
        if job.status is Status.DELETED:
            return [standing.deleted(own.get("JobDeleted"), asked.at, words)]
        if job.spec.schedule.kind == "none":
            return [standing.no_schedule(next(iter(standing.made(own)), None), asked.at)]
        if (at := absence.occurrence_at(job, asked)) is not None:
            now = await read.job_state(job_id, read.tail)
            if now is not None and now.next_for is not None and at >= now.next_for:
                return await self._waiting(now, at, words)
        if moved := await self._moved(job_id, asked, words):
            return moved
        if job.status is Status.COMPLETED:
            return [standing.completed(job, own.get("JobCompleted"), asked.at, words)]
        events = standing.made(own)
        if (dropped := absence.dropped_at(job, asked)) is not None:
            return [standing.not_an_occurrence(dropped, words, events)]
        if window := list(absence.outside_window(job, asked, words, events)):
            return window
        edits = await read.before(subject, "JobCreated", "JobUpdated", upto=then, limit=EDITS)
        edited = absence.edited(edits, asked, words)
        none = absence.none_then(job, asked, words, events)
        return [none] if edited is None else [edited, none]

    async def _waiting(self, now: Job, at: datetime, words: Words) -> list[Finding]:
        """An occurrence whose time has come, and which nobody has decided."""
        read = self._read
        own = await self._own(now.id, read.tail)
        if now.status is Status.PAUSED and (recorded := own.get("JobPaused")) is not None:
            return [standing.paused(recorded, words), standing.pending_pause(now, at, recorded, words)]
        announced = await read.announcer(now.id, read.tail)
        fires = now.fires_next_at if at == now.next_for else at
        found = [standing.overdue(at, announced, read.until, words)]
        return [*found, *silence.told(await read.silence(fires or at, None), words)]

    async def _of_the_future(self, job_id: str, asked: Asked, words: Words) -> Explanation:
        """A time that has not come."""
        now = await self._read.job_state(job_id, self._read.tail)
        own = await self._own(job_id, self._read.tail)
        if now is None or now.status is Status.DELETED:
            findings = [standing.deleted(own.get("JobDeleted"), asked.at, words)]
        elif now.spec.schedule.kind == "none":
            findings = [standing.no_schedule(next(iter(standing.made(own)), None), asked.at)]
        elif now.status is Status.COMPLETED:
            findings = [standing.completed(now, own.get("JobCompleted"), asked.at, words)]
        else:
            findings = await self._moved(job_id, asked, words) or self._ahead(now, asked, words, own)
        return Explanation(sentence_of([findings[-1].sentence]), findings, words.timezone)

    async def _moved(self, job_id: str, asked: Asked, words: Words) -> list[Finding]:
        """What was announced for then, and isn't any more as other zone tables came."""
        found = await self._read.before(
            f"job/{job_id}", "ScheduleReplanned", upto=self._read.tail, limit=EDITS
        )
        moved = [each for each in found if asked.means(each.change().event.was_for)]  # type: ignore[attr-defined]
        return [standing.replanned(each, words) for each in moved[:1]]

    def _ahead(self, now: Job, asked: Asked, words: Words, own: Mapping[str, Recorded]) -> list[Finding]:
        if (paused := own.get("JobPaused")) is not None and now.status is Status.PAUSED:
            found = [standing.paused(paused, words)]
        else:
            found = []
        steps = upcoming(now, now=self._read.until, since=asked.at - TICK, calendars=self._calendars)
        for step in islice((each for each in steps if each is not None), AHEAD):
            if step.at >= asked.end:
                break
            if isinstance(step, Planned):
                return [*found, standing.to_come(step, now, standing.made(own), words)]
            return [*found, standing.left_out(step, own, words)]
        if window := list(absence.outside_window(now, asked, words, standing.made(own))):
            return [*found, *window]
        return [*found, absence.none_then(now, asked, words, standing.made(own))]

    # A job as it stands.

    async def of_job(self, job_id: str, pos: int | None) -> Explanation | None:
        """Why the job stands as it does, or did after the event at a pos; None: it wasn't there."""
        read = self._read
        upto, until = (read.tail, read.until) if pos is None else (pos, await self._time_of(pos))
        brought = await read.job(job_id, upto)
        if brought is None or not isinstance(job := brought.state, Job):
            return None
        words = Words(job.spec.schedule.timezone, until)
        last = brought.last_run
        ends = [] if last is None else await read.before(f"run/{last.id}", *_ENDS, upto=upto)
        active = [
            await read.after(f"run/{each}", "RunRequested") for each in job.active[: standing.ACTIVE_SHOWN]
        ]
        backfill = (
            [] if job.backfill is None else await read.after(f"backfill/{job.backfill}", "BackfillRequested")
        )
        fires = job.fires_next_at
        is_due = job.status is Status.PENDING and fires is not None and fires <= until
        found = standing.Standing(
            job=job,
            own=await self._own(job_id, upto),
            announced=await read.announcer(job_id, upto),
            active=[each for some in active for each in some],
            active_runs=brought.active_runs,
            last_end=ends[0] if ends else None,
            backfill=backfill[0] if backfill else None,
            ahead=self._next(job, until),
            silence=await read.silence(fires, None)
            if is_due and fires is not None and upto == read.tail
            else None,
            until=until,
        )
        findings = standing.told(found, words)
        return Explanation(sentence_of([standing.decisive(findings, job).sentence]), findings, words.timezone)

    async def _time_of(self, pos: int) -> datetime:
        event = await self._read.event_at(self._read.partition, pos)
        return self._read.until if event is None else at_of(event)

    def _next(self, job: Job, until: datetime) -> list[Planned | Dropped]:
        """What is left out before the next run, and that."""
        steps: list[Planned | Dropped] = []
        if job.status not in {Status.PENDING, Status.PAUSED}:
            return steps
        try:
            for step in islice(upcoming(job, now=until, calendars=self._calendars), AHEAD):
                if step is None:
                    continue
                if not (isinstance(step, Dropped) and step.reason not in {"skipped", "calendar"}):
                    steps.append(step)
                if isinstance(step, Planned):
                    break
        except TooFar:
            pass  # what comes so far ahead is not told
        return steps

    # A run.

    async def of_run(self, run_id: str) -> Explanation | None:
        """The story of a run; None: the archive has none of it."""
        events = await self._read.run(run_id)
        if not events or events[0].type != "RunRequested":
            return None
        requested = _requested(events[0])
        words = Words(requested.spec.timezone, requested.fires_at)
        findings = await self._story(events, words)
        return Explanation(
            sentence_of([findings[0].sentence, findings[-1].sentence]), findings, words.timezone
        )

    async def _story(self, events: Sequence[Recorded], words: Words) -> list[Finding]:
        beside = await self._beside(events)
        return run.told(events, beside, words)

    async def _beside(self, events: Sequence[Recorded]) -> run.Beside:
        read, first = self._read, events[0]
        requested, run_id = _requested(first), first.subject.removeprefix("run/")
        job = None
        if requested.trigger == "schedule" or requested.held:
            job = await read.job_state(requested.job_id, first.position.pos - 1)
        around = occurrence.Around()
        if requested.trigger == "schedule":
            around = await self._around_fire(first, requested, job)
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
        """What executors did while it waited: of the first stays in its queue, and the last."""
        read, waits = self._read, run.waits(events)
        found = {}
        for wait in dict.fromkeys((*waits[:3], *waits[-1:])):
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
            found = await self._read.before(f"run/{requested.of}", *_ENDS, upto=_ANY)
        else:
            found = []
        return found[0] if found else None

    async def _around_fire(
        self, first: Recorded, requested: RunRequested, job: Job | None
    ) -> occurrence.Around:
        read, subject, pos = self._read, f"job/{requested.job_id}", first.position.pos
        paused = resumed = None
        if job is not None and job.catching_up is not None:
            paused = _first(await read.before(subject, "JobPaused", upto=pos))
            resumed = _first(await read.before(subject, "JobResumed", upto=pos))
        due_at = requested.fires_at if resumed is None else at_of(resumed)
        is_late = occurrence.needs_silence(due_at, first)
        quiet = await read.silence(due_at, first) if is_late else None
        return occurrence.Around(job=job, silence=quiet, paused=paused, resumed=resumed)

    async def _around_skip(
        self, job_id: str, recorded: Recorded, event: OccurrencesSkipped, at: datetime
    ) -> occurrence.Around:
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
                wishes = await read.before(subject, "OccurrenceExcluded", upto=pos, limit=100)
                excluded = next((each for each in wishes if each.change().event.scheduled_for == at), None)  # type: ignore[attr-defined]
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

    async def _own(self, job_id: str, upto: int) -> dict[str, Recorded]:
        return await self._read.last_of_each(f"job/{job_id}", standing.OWN, upto)


_TELLING = {Code.NO_TIMER, Code.OVERDUE, Code.EDITED, *standing.PAUSES, Code.PAUSE_PENDING}
"""What stands in a summary beside what comes last."""
_ENDS = ("RunSucceeded", "RunFailed", "RunCancelled", "RunExpired")
_ANY = (1 << 63) - 1


def _requested(recorded: Recorded) -> RunRequested:
    event = recorded.change().event
    assert isinstance(event, RunRequested)  # noqa: S101 - the question was for no other
    return event


def _covers(recorded: Recorded, job: Job | None, asked: Asked) -> tuple[datetime | None, bool]:
    """The occurrence in that second that an event decides, if any; and whether all later ones lie beyond it."""
    event = recorded.change().event
    if isinstance(event, RunRequested):
        if asked.means(event.scheduled_for) or asked.means(event.fires_at):
            return event.scheduled_for, False
        return None, event.scheduled_for >= asked.end
    assert isinstance(event, OccurrencesSkipped)  # noqa: S101 - nothing else is a decision
    for at in (event.from_, event.to):
        if asked.means(at):
            return at, False
    within = event.from_ < asked.at < event.to and job is not None
    at_then = absence.occurrence_at(job, asked) if within and job is not None else None
    return at_then, event.to >= asked.end


def _summary_at(decision: Decision | None, findings: Sequence[Finding], words: Words) -> str:
    """One sentence; '' if there is nothing to sum up."""
    if not findings:
        return ""
    telling = [each.sentence for each in findings if each.code in _TELLING]
    last = findings[-1].sentence
    if decision is None:
        return sentence_of(telling or [last])
    fired = decision.recorded.type == "RunRequested"
    head = f"{'fired' if fired else 'it did not run'} for {words.whole(decision.at)}"
    return sentence_of(dict.fromkeys([head, *telling, last]))


def _first(found: Sequence[Recorded]) -> Recorded | None:
    return found[0] if found else None
