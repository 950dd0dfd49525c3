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

from services.api.explaining import absence, occurrence, reasons, run, standing
from services.api.explaining.codes import Code
from services.api.explaining.finding import Explanation, Words, at_of, sentence_of
from services.api.explaining.surroundings import ENDS, Surroundings, requested_by
from services.api.explaining.undecided import Undecided
from shared.domain.cron import BadCron
from shared.domain.events import OccurrencesSkipped, RunRequested
from shared.domain.job import Job, Status
from shared.domain.preview import EXCLUDED_SHOWN, Dropped, Planned, upcoming
from shared.domain.zones import UnknownZone
from shared.recovery.looking_back import Gone

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
OTHERS = 3  # runs that somebody asked for in the same second
LEFT_OUT = 20  # before the next run, shown
AHEAD = 2 * EXCLUDED_SHOWN  # looked at for the next run: beyond a calendar's long holiday, too


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
        self._undecided = Undecided(reading, calendars)
        self._calendars = calendars

    @property
    def until(self) -> datetime:
        """Up to when the archive is known to tell all."""
        return self._read.until

    # A job at a time.

    async def of_job_at(self, job_id: str, asked: Asked) -> Explanation:
        """Why the job ran, or did not, at a time.

        Raises:
            Gone: what tells was dropped between two looks at the archive.
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
        if known is None:
            raise Gone
        words = Words(known.spec.schedule.timezone, asked.at)
        change = absence.left_out_by_the_clock(asked, known.spec.schedule)
        if change is not None and not absence.has_moved_to(known.spec.schedule, change.at):
            made = reasons.made(await read.own(job_id, read.tail))
            found = absence.without_that_time(asked, change.at, words, made)
            return Explanation(sentence_of([found.sentence]), [found], words.timezone)
        asked = asked if change is None else asked._replace(at=change.at)
        if asked.at > read.until:
            findings = await self._undecided.ahead(job_id, asked, words)
            pause = [each.sentence for each in findings if each.code in reasons.PAUSES]
            summary = sentence_of(dict.fromkeys([*pause, findings[-1].sentence]))
            return Explanation(summary, findings, words.timezone)
        others = await self._others(job_id, asked)
        decision = await self._decision(job_id, job, asked)
        if decision is not None:
            findings = await self._decided(job_id, decision, words)
        elif others:
            findings = []
        else:
            findings = await self._undecided.gone_by(job_id, job, asked, words)
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

    async def _of_the_unreadable(self, job_id: str, error: ValueError) -> Explanation:
        """Of a schedule that this build can't read (any more): what is known without it."""
        own = await self._read.own(job_id, self._read.tail)
        words = Words("UTC", self._read.until)
        findings = [reasons.unreadable(error, reasons.made(own), self._read.until)]
        if (paused := own.get("JobPaused")) is not None:
            findings.append(reasons.paused(paused, words))
        return Explanation(sentence_of(each.sentence for each in findings), findings, words.timezone)

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
            own=await read.own(job_id, upto),
            announced=await read.announcer(job_id, upto),
            active=[each for some in active for each in some],
            active_runs=brought.active_runs,
            last_end=next(iter(ends), None),
            backfill=next(iter(backfill), None),
            wishes=await read.wishes(job_id, upto) if job.skipped else {},
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
            if isinstance(step, Planned):
                return [*found[:LEFT_OUT], step]
            if step is not None and step.reason in {"skipped", "calendar"}:
                found.append(step)
        return found[:LEFT_OUT]

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
