"""A job as it stands: who made it, what was done to it last, what keeps it from running, and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.api.explaining import reasons, silence
from services.api.explaining.codes import Code
from services.api.explaining.finding import Finding, at_of, counted, of_event
from shared.domain.events import OUTCOMES
from shared.domain.job import Status
from shared.domain.preview import Planned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from services.api.explaining.finding import Words
    from services.api.explaining.silence import Silence
    from shared.domain.job import Job
    from shared.domain.preview import Dropped
    from shared.eventlog.envelope import Recorded

OWN = (  # types of a job's own events of which the last one tells something
    "JobCreated", "JobUpdated", "JobPaused", "JobResumed", "JobDeleted", "JobCompleted", "ScheduleReplanned",
    "PersonalDataErased",
)  # fmt: skip
ACTIVE_SHOWN = 5


class Standing(NamedTuple):
    """A job, and what else is known of it.

    Attributes:
        own: the last event of each type in OWN that there is.
        announced: the event that announced its next occurrence.
        active: the requests of unfinished runs, the first that it knows of.
        active_runs: how many of them there are.
        last_end: the last event of the run that ended last.
        backfill: the request of the one that is under way.
        wishes: to skip an occurrence, by the time of that.
        ahead: what is to come up to the next run, as far as was looked.
        silence: from when its next occurrence was due.
        until: as of when this is so.
    """

    job: Job
    own: Mapping[str, Recorded]
    announced: Recorded | None
    active: Sequence[Recorded]
    active_runs: int
    last_end: Recorded | None
    backfill: Recorded | None
    wishes: Mapping[datetime, Recorded]
    ahead: Sequence[Planned | Dropped]
    silence: Silence | None
    until: datetime


def told(standing: Standing, words: Words) -> list[Finding]:
    """All of it, in the order in which it happened; what comes next stands last."""
    past = sorted(_past(standing, words), key=lambda each: each.at)
    return [*past, *_present(standing, words)]


def decisive(findings: Sequence[Finding], job: Job) -> list[str]:
    """The sentences that say most."""
    wanted: tuple[Code, ...] = (
        Code.NEXT,
        Code.CALENDAR,
        Code.SKIPPED_BY_HAND,
        Code.NO_SCHEDULE,
        Code.CREATED,
    )
    match job.status:
        case Status.DELETED:
            wanted = (Code.DELETED,)
        case Status.COMPLETED:
            wanted = (Code.COMPLETED,)
        case Status.PAUSED:
            wanted = reasons.PAUSES
        case _ if any(each.code is Code.OVERDUE for each in findings):
            wanted = (Code.OVERDUE,)
    chosen = [each.sentence for code in wanted for each in findings if each.code is code]
    because = [each.sentence for each in findings if each.code is Code.NO_TIMER]
    return [(chosen or [each.sentence for each in findings])[0], *because]


def _past(standing: Standing, words: Words) -> Iterator[Finding]:
    job, own = standing.job, standing.own
    for name, code, verb in (("JobCreated", Code.CREATED, "made"), ("JobUpdated", Code.REVISED, "edited")):
        if (recorded := own.get(name)) is not None:
            yield _edit(recorded, code, verb, words)
    if (recorded := own.get("ScheduleReplanned")) is not None and recorded == standing.announced:
        yield reasons.replanned(recorded, words)
    if (recorded := own.get("PersonalDataErased")) is not None:
        yield reasons.erased(recorded, words)
    yield from _of_runs(standing, words)
    match job.status:
        case Status.DELETED:
            yield reasons.deleted(own.get("JobDeleted"), job, words)
        case Status.COMPLETED:
            yield reasons.completed(job, own.get("JobCompleted"), standing.until, words)
        case Status.PAUSED if (recorded := own.get("JobPaused")) is not None:
            yield reasons.paused(recorded, words)
        case Status.PENDING if (recorded := own.get("JobResumed")) is not None:
            yield _resumed(recorded, words)


def _of_runs(standing: Standing, words: Words) -> Iterator[Finding]:
    if standing.last_end is not None:
        yield _last_run(standing.last_end, words)
    for recorded in standing.active[:ACTIVE_SHOWN]:
        yield _active(recorded, standing.active_runs, words)
    if standing.backfill is not None:
        yield _backfilling(standing.backfill, words)


def _present(standing: Standing, words: Words) -> Iterator[Finding]:
    job, until = standing.job, standing.until
    if job.status in {Status.DELETED, Status.COMPLETED}:
        return
    if job.spec.schedule.kind == "none":
        made = standing.own.get("JobUpdated") or standing.own.get("JobCreated")
        yield reasons.no_schedule(made, until)
        return
    fires = job.fires_next_at
    if job.next_for is not None and fires is not None and fires <= until:
        if job.status is Status.PAUSED:
            yield reasons.pending_pause(job, job.next_for, standing.own.get("JobPaused"), words)
        elif silence.is_late(fires, until):
            yield reasons.overdue(job.next_for, standing.announced, until, words)
            if standing.silence is not None:
                yield from silence.told(standing.silence, words)
    for each in standing.ahead:
        if isinstance(each, Planned):
            yield _next(each, standing, words)
        else:
            yield reasons.left_out(each, standing.own, standing.wishes, words)


def _edit(recorded: Recorded, code: Code, verb: str, words: Words) -> Finding:
    revision, by = getattr(recorded.change().event, "revision", 1), recorded.actor
    said = f"{verb} by {by} at {words.whole(at_of(recorded))} (revision {revision})"
    return of_event(recorded, code, said, by=by, revision=revision)


def _resumed(recorded: Recorded, words: Words) -> Finding:
    event = recorded.change().event
    by, catch_up = event.by, event.catch_up  # type: ignore[attr-defined]
    said = f"resumed by {by} at {words.whole(at_of(recorded))} (catch_up {catch_up})"
    return of_event(recorded, Code.RESUMED, said, by=by, catch_up=catch_up)


def _last_run(recorded: Recorded, words: Words) -> Finding:
    outcome, run_id = OUTCOMES[type(recorded.change().event)], recorded.subject.removeprefix("run/")
    said = f"the last run that ended, {run_id}: {outcome} at {words.whole(at_of(recorded))}"
    return of_event(recorded, Code.LAST_RUN, said, run_id=run_id, outcome=outcome)


def _active(recorded: Recorded, count: int, words: Words) -> Finding:
    trigger: str = recorded.change().event.trigger  # type: ignore[attr-defined]
    run_id = recorded.subject.removeprefix("run/")
    of = "" if count == 1 else f", nor have {counted(count - 1, 'other')}"
    said = f"run {run_id} ({trigger}), asked for at {words.whole(at_of(recorded))}, has not ended{of}"
    return of_event(recorded, Code.ACTIVE, said, run_id=run_id, trigger=trigger)


def _backfilling(recorded: Recorded, words: Words) -> Finding:
    event, backfill_id = recorded.change().event, recorded.subject.removeprefix("backfill/")
    count, by = len(event.times), event.by  # type: ignore[attr-defined]
    at = words.whole(at_of(recorded))
    said = f"backfill {backfill_id} of {counted(count, 'occurrence')}, wanted by {by} at {at}, is under way"
    return of_event(recorded, Code.BACKFILLING, said, backfill_id=backfill_id, by=by)


def _next(each: Planned, standing: Standing, words: Words) -> Finding:
    job = standing.job
    verb = "if it was resumed now, it would run" if job.status is Status.PAUSED else "it runs"
    jitter = "" if each.fires_at == each.at else f", put off by jitter to {words.brief(each.fires_at)}"
    said = f"{verb} next at {words.whole(each.at)}{jitter}, by revision {job.revision}"
    events = () if standing.announced is None else (standing.announced,)
    details = {"scheduled_for": each.at, "fires_at": each.fires_at, "revision": job.revision}
    return Finding(Code.NEXT, said, each.at, events, details)
