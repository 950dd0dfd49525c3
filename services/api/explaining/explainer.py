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

from services.api.explaining import absence, occurrence, reasons, run, silence, standing
from services.api.explaining.codes import Code
from services.api.explaining.finding import Explanation, Words, at_of, sentence_of
from services.api.explaining.surroundings import ENDS, Surroundings, requested_by
from shared.domain.cron import BadCron
from shared.domain.events import OccurrencesSkipped, RunRequested
from shared.domain.job import Job, Status
from shared.domain.preview import Dropped, Planned, TooFar, upcoming
from shared.domain.schedule import TICK
from shared.domain.zones import UnknownZone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from services.api.explaining.absence import Asked
    from services.api.explaining.finding import Finding
    from services.api.explaining.reading import Reading
    from shared.domain.calendars import Seen
    from shared.eventlog.envelope import Recorded
    from shared.recovery.brought_forward import Brought

FIRST_LOOK = 8  # decisions: nearly always the one that is wanted is among them
SECOND_LOOK = 4_000  # as long as a backlog may be
EDITS = 10  # of the schedule, looked at for an occurrence that one of them took away
OTHERS = 3  # runs that somebody asked for in the same second
AHEAD = 20  # what is left out before the next run, shown
COUNTED = 2_000  # occurrences ahead that max_runs counts, some 50 µs each


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
        self._beside = Surroundings(reading)
        self._calendars = calendars

    @property
    def until(self) -> datetime:
        """Up to when the archive is known to tell all."""
        return self._read.until

    # A job at a time.

    async def of_job_at(self, job_id: str, asked: Asked) -> Explanation:
        """Why the job ran, or did not, at a time.

        Raises:
            TooFar: a time so far ahead that more than COUNTED occurrences would have to be counted.
        """
        try:
            return await self._of_job_at(job_id, asked)
        except (BadCron, UnknownZone) as error:
            return await self._of_the_unreadable(job_id, error)

    async def _of_job_at(self, job_id: str, asked: Asked) -> Explanation:
        read = self._read
        job = await read.job_state(job_id, await read.pos_before(asked.at))
        known = job or await read.job_state(job_id, read.tail)
        words = Words("UTC" if known is None else known.spec.schedule.timezone, asked.at)
        if known is not None:
            change = absence.left_out_by_the_clock(asked, known.spec.schedule)
            if change is not None and not absence.has_moved_to(known.spec.schedule, change.at):
                made = reasons.made(await self._own(job_id, read.tail))
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
        runs = [
            each.subject.removeprefix("run/") for each in found if requested_by(each).trigger != "schedule"
        ]
        return runs[:OTHERS]

    async def _decision(self, job_id: str, job: Job | None, asked: Asked) -> Decision | None:
        """What was decided about an occurrence in that second. No decision comes before its occurrence."""
        above = await self._read.pos_before(asked.at - absence.SECOND)  # clocks are looked at before a write
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
        around = await self._beside.of_skip(job_id, recorded, event, decision.at)
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
            return [reasons.deleted(own.get("JobDeleted"), asked.at, words)]
        if job.spec.schedule.kind == "none":
            return [reasons.no_schedule(next(iter(reasons.made(own)), None), asked.at)]
        if (at := absence.occurrence_at(job, asked)) is not None:
            now = await read.job_state(job_id, read.tail)
            if now is not None and now.next_for is not None and at >= now.next_for:
                return await self._waiting(now, at, words)
        if moved := await self._moved(job_id, asked, words):
            return moved
        if job.status is Status.COMPLETED:
            return [reasons.completed(job, own.get("JobCompleted"), asked.at, words)]
        events = reasons.made(own)
        if (dropped := absence.dropped_at(job, asked)) is not None:
            return [reasons.not_an_occurrence(dropped, words, events)]
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
            return [reasons.paused(recorded, words), reasons.pending_pause(now, at, recorded, words)]
        announced = await read.announcer(now.id, read.tail)
        fires = (now.fires_next_at if at == now.next_for else None) or at
        if fires > read.until:
            held_back = Planned(at=at, fires_at=fires, local_time=words.local(at), rule=None)
            return [reasons.to_come(held_back, now, reasons.made(own), words)]
        found = [reasons.overdue(at, announced, read.until, words)]
        return [*found, *silence.told(await read.silence(fires, None), words)]

    async def _of_the_unreadable(self, job_id: str, error: ValueError) -> Explanation:
        """Of a schedule that this build can't read (any more): what is known without it."""
        own = await self._own(job_id, self._read.tail)
        words = Words("UTC", self._read.until)
        findings = [reasons.unreadable(error, reasons.made(own), self._read.until)]
        if (paused := own.get("JobPaused")) is not None:
            findings.append(reasons.paused(paused, words))
        return Explanation(sentence_of(each.sentence for each in findings), findings, words.timezone)

    async def _of_the_future(self, job_id: str, asked: Asked, words: Words) -> Explanation:
        """A time that has not come."""
        now = await self._read.job_state(job_id, self._read.tail)
        own = await self._own(job_id, self._read.tail)
        if now is None or now.status is Status.DELETED:
            findings = [reasons.deleted(own.get("JobDeleted"), asked.at, words)]
        elif now.spec.schedule.kind == "none":
            findings = [reasons.no_schedule(next(iter(reasons.made(own)), None), asked.at)]
        elif now.status is Status.COMPLETED:
            findings = [reasons.completed(now, own.get("JobCompleted"), asked.at, words)]
        else:
            findings = await self._moved(job_id, asked, words) or self._ahead(now, asked, words, own)
        return Explanation(sentence_of([findings[-1].sentence]), findings, words.timezone)

    async def _moved(self, job_id: str, asked: Asked, words: Words) -> list[Finding]:
        """What was announced for then, and isn't any more as other zone tables came."""
        found = await self._read.before(
            f"job/{job_id}", "ScheduleReplanned", upto=self._read.tail, limit=EDITS
        )
        moved = [each for each in found if asked.means(each.change().event.was_for)]  # type: ignore[attr-defined]
        return [reasons.replanned(each, words) for each in moved[:1]]

    def _ahead(self, now: Job, asked: Asked, words: Words, own: Mapping[str, Recorded]) -> list[Finding]:
        if (paused := own.get("JobPaused")) is not None and now.status is Status.PAUSED:
            found = [reasons.paused(paused, words)]
        else:
            found = []
        steps = upcoming(now, now=self._read.until, since=asked.at - TICK, calendars=self._calendars)
        for passed, step in enumerate(steps):
            if passed > COUNTED:
                raise TooFar
            if step is None:
                continue
            if step.at >= asked.end:
                break
            if isinstance(step, Planned):
                return [*found, reasons.to_come(step, now, reasons.made(own), words)]
            return [*found, reasons.left_out(step, own, words)]
        if window := list(absence.outside_window(now, asked, words, reasons.made(own))):
            return [*found, *window]
        return [*found, absence.none_then(now, asked, words, reasons.made(own))]

    # A job as it stands.

    async def of_job(self, job_id: str, pos: int | None) -> Explanation | None:
        """Why the job stands as it does, or did after the event at a pos; None: it wasn't there."""
        read = self._read
        upto, until = (read.tail, read.until) if pos is None else (pos, await self._time_of(pos))
        brought = await read.job(job_id, upto)
        if brought is None or not isinstance(job := brought.state, Job):
            return None
        words = Words(job.spec.schedule.timezone, until)
        try:
            found = await self._standing(brought, job, upto, until)
        except (BadCron, UnknownZone) as error:
            return await self._of_the_unreadable(job_id, error)
        findings = standing.told(found, words)
        return Explanation(sentence_of(standing.decisive(findings, job)), findings, words.timezone)

    async def _standing(self, brought: Brought, job: Job, upto: int, until: datetime) -> standing.Standing:
        read, job_id, last = self._read, job.id, brought.last_run
        ends = [] if last is None else await read.before(f"run/{last.id}", *ENDS, upto=upto)
        shown = job.active[: standing.ACTIVE_SHOWN]
        active = [await read.after(f"run/{each}", "RunRequested") for each in shown]
        backfill = await read.after(f"backfill/{job.backfill}", "BackfillRequested") if job.backfill else []
        fires = job.fires_next_at if job.status is Status.PENDING and upto == read.tail else None
        return standing.Standing(
            job=job,
            own=await self._own(job_id, upto),
            announced=await read.announcer(job_id, upto),
            active=[each for some in active for each in some],
            active_runs=brought.active_runs,
            last_end=next(iter(ends), None),
            backfill=next(iter(backfill), None),
            ahead=self._next(job, until),
            silence=await read.silence(fires, None) if fires is not None and fires <= until else None,
            until=until,
        )

    async def _time_of(self, pos: int) -> datetime:
        event = await self._read.event_at(self._read.partition, pos)
        return self._read.until if event is None else at_of(event)

    def _next(self, job: Job, until: datetime) -> list[Planned | Dropped]:
        """What is left out before the next run, and that; what the schedule's own rules drop is none of it."""
        found: list[Planned | Dropped] = []
        if job.status not in {Status.PENDING, Status.PAUSED}:
            return found
        for step in islice(upcoming(job, now=until, calendars=self._calendars), AHEAD):
            if isinstance(step, Planned) or (step is not None and step.reason in {"skipped", "calendar"}):
                found.append(step)
            if isinstance(step, Planned):
                break
        return found

    # A run.

    async def of_run(self, run_id: str) -> Explanation | None:
        """The story of a run; None: the archive has none of it."""
        events = await self._read.run(run_id)
        if not events or events[0].type != "RunRequested":
            return None
        requested = requested_by(events[0])
        words = Words(requested.spec.timezone, requested.fires_at)
        findings = await self._story(events, words)
        return Explanation(
            sentence_of([findings[0].sentence, findings[-1].sentence]), findings, words.timezone
        )

    async def _story(self, events: Sequence[Recorded], words: Words) -> list[Finding]:
        beside = await self._beside.of_run(events)
        return run.told(events, beside, words)

    async def _own(self, job_id: str, upto: int) -> dict[str, Recorded]:
        return await self._read.last_of_each(f"job/{job_id}", standing.OWN, upto)


_TELLING = {Code.NO_TIMER, Code.OVERDUE, Code.EDITED, *reasons.PAUSES, Code.PAUSE_PENDING}
"""What stands in a summary beside what comes last."""


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
