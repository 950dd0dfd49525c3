"""A job as it stands: who made it, what was done to it last, what keeps it from running, and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.api.explaining import silence
from services.api.explaining.codes import Code
from services.api.explaining.finding import Finding, at_of, counted, of_event, quoted
from shared.domain.events import OUTCOMES
from shared.domain.job import Status
from shared.domain.preview import Planned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from services.api.explaining.finding import Words
    from services.api.explaining.silence import Silence
    from shared.domain.events import JobPaused, ScheduleReplanned
    from shared.domain.job import Job
    from shared.domain.preview import Dropped
    from shared.eventlog.envelope import Recorded

OWN = (  # types of a job's own events of which the last one tells something
    "JobCreated", "JobUpdated", "JobPaused", "JobResumed", "JobDeleted", "JobCompleted", "ScheduleReplanned",
    "OccurrenceExcluded",
)  # fmt: skip
PAUSES = (Code.PAUSED, Code.PAUSED_BY_FAILURES, Code.PAUSED_UNDECIDABLE)
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
    ahead: Sequence[Planned | Dropped]
    silence: Silence | None
    until: datetime


def told(standing: Standing, words: Words) -> list[Finding]:
    """All of it, in the order in which it happened; what comes next stands last."""
    past = sorted(_past(standing, words), key=lambda each: each.at)
    return [*past, *_present(standing, words)]


def decisive(findings: Sequence[Finding], job: Job) -> Finding:
    """The one that says most."""
    wanted: tuple[Code, ...] = (Code.NEXT, Code.NO_SCHEDULE, Code.CREATED)
    match job.status:
        case Status.DELETED:
            wanted = (Code.DELETED,)
        case Status.COMPLETED:
            wanted = (Code.COMPLETED,)
        case Status.PAUSED:
            wanted = PAUSES
        case _ if any(each.code is Code.OVERDUE for each in findings):
            wanted = (Code.OVERDUE,)
    chosen = [each for code in wanted for each in findings if each.code is code]
    return (chosen or list(findings))[0]


def paused(recorded: Recorded, words: Words) -> Finding:
    """By whom, when and why a job was paused."""
    event: JobPaused = recorded.change().event  # type: ignore[assignment]
    details = {
        "by": event.by, "reason": event.reason, "at": event.paused_at, "until": event.until,
        "catch_up": event.catch_up, "switch": event.switch,
    }  # fmt: skip
    until = "" if event.until is None else f", until {words.brief(event.until)}"
    with_others = "" if event.switch is None else f" with all of {event.switch}"
    said = f"paused by {event.by}{with_others} at {words.brief(event.paused_at)}{until}{quoted(event.reason)}"
    code = Code.PAUSED
    if recorded.actor == silence.TIMER and event.by == silence.TIMER:
        code = Code.PAUSED_UNDECIDABLE
    elif event.by == "daybook":
        code = Code.PAUSED_BY_FAILURES
    return Finding(code, said, event.paused_at, (recorded,), details)


def deleted(recorded: Recorded | None, at: datetime, words: Words) -> Finding:
    """By whom the job was deleted."""
    if recorded is None:
        return Finding(Code.DELETED, "the job had been deleted", at)
    said = f"deleted by {recorded.actor} at {words.brief(at_of(recorded))}"
    return Finding(Code.DELETED, said, at_of(recorded), (recorded,), {"by": recorded.actor})


def completed(job: Job, recorded: Recorded | None, at: datetime, words: Words) -> Finding:
    """Why the schedule has nothing left."""
    schedule = job.spec.schedule
    why, told = "it had no occurrence left", "exhausted"
    if schedule.is_used_up(job.runs):
        why, told = f"max_runs of {schedule.max_runs:,} was used up", "max_runs"
    elif schedule.run_at is not None:
        why, told = f"its one time, {words.whole(schedule.run_at)}, was decided", "run_at"
    elif schedule.end_at is not None:
        why, told = f"it ended at {words.whole(schedule.end_at)} (end_at)", "end_at"
    events = () if recorded is None else (recorded,)
    when = at if recorded is None else at_of(recorded)
    said = f"the schedule was completed at {words.brief(when)}: {why}"
    return Finding(Code.COMPLETED, said, when, events, {"why": told, "runs": job.runs})


def pending_pause(job: Job, at: datetime, recorded: Recorded | None, words: Words) -> Finding:
    """What the end of a pause is going to make of what fell due in it."""
    catch_up = "skip" if job.paused is None else job.paused.catch_up
    until = None if job.paused is None else job.paused.until
    end = "its end" if until is None else f"its end at {words.brief(until)}"
    does = "skips it" if catch_up == "skip" else f"catches it up ({catch_up})"
    return Finding(
        Code.PAUSE_PENDING,
        f"{words.whole(at)} waits in the pause: {end} {does}, unless who ends it says otherwise",
        at,
        () if recorded is None else (recorded,),
        {"scheduled_for": at, "catch_up": catch_up, "until": until},
    )


def overdue(at: datetime, recorded: Recorded | None, until: datetime, words: Words) -> Finding:
    """What is due and undecided."""
    said = f"{words.whole(at)} is due, and undecided at {words.brief(until)}, up to when the log is known"
    events = () if recorded is None else (recorded,)
    return Finding(Code.OVERDUE, said, at, events, {"scheduled_for": at, "known_until": until})


def no_schedule(recorded: Recorded | None, at: datetime) -> Finding:
    """A job that runs when it is triggered."""
    events = () if recorded is None else (recorded,)
    return Finding(
        Code.NO_SCHEDULE, "it has no schedule: it runs when somebody, or a chain, triggers it", at, events
    )


def _past(standing: Standing, words: Words) -> Iterator[Finding]:
    job, own = standing.job, standing.own
    for name, code, verb in (("JobCreated", Code.CREATED, "made"), ("JobUpdated", Code.REVISED, "edited")):
        if (recorded := own.get(name)) is not None:
            yield _edit(recorded, code, verb, words)
    if (recorded := own.get("ScheduleReplanned")) is not None and recorded == standing.announced:
        yield replanned(recorded, words)
    yield from _of_runs(standing, words)
    match job.status:
        case Status.DELETED:
            yield deleted(own.get("JobDeleted"), job.updated_at, words)
        case Status.COMPLETED:
            yield completed(job, own.get("JobCompleted"), standing.until, words)
        case Status.PAUSED if (recorded := own.get("JobPaused")) is not None:
            yield paused(recorded, words)
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
        yield no_schedule(made, until)
        return
    fires = job.fires_next_at
    if job.next_for is not None and fires is not None and fires <= until:
        if job.status is Status.PAUSED:
            yield pending_pause(job, job.next_for, standing.own.get("JobPaused"), words)
        elif silence.is_late(fires, until):
            yield overdue(job.next_for, standing.announced, until, words)
            if standing.silence is not None:
                yield from silence.told(standing.silence, words)
    for each in standing.ahead:
        if isinstance(each, Planned):
            yield _next(each, standing, words)
        else:
            yield left_out(each, standing.own, words)


def left_out(each: Dropped, own: Mapping[str, Recorded], words: Words) -> Finding:
    """A time that lies ahead, and at which the job is not going to run."""
    told = {"scheduled_for": each.at, "by": each.by, "reason": each.reason}
    match each.reason:
        case "skipped":
            excluded = own.get("OccurrenceExcluded")
            said = f"{words.whole(each.at)} is to be skipped, as {each.by} wants"
            return Finding(Code.SKIPPED_BY_HAND, said, each.at, () if excluded is None else (excluded,), told)
        case "calendar":
            said = f"{words.whole(each.at)} will be skipped: calendar {each.by} excludes it, as it is now"
            return Finding(Code.CALENDAR, said, each.at, (), told)
        case _:
            return not_an_occurrence(each, words, made(own))


def to_come(each: Planned, job: Job, events: tuple[Recorded, ...], words: Words) -> Finding:
    """An occurrence whose time has not come."""
    jitter = "" if each.fires_at == each.at else f", put off by jitter to {words.brief(each.fires_at)}"
    said = f"{words.whole(each.at)} has not come yet{jitter}: it is an occurrence by revision {job.revision}"
    details = {"scheduled_for": each.at, "fires_at": each.fires_at, "revision": job.revision}
    return Finding(Code.AHEAD, said, each.at, events, details)


def not_an_occurrence(each: Dropped, words: Words, events: tuple[Recorded, ...]) -> Finding:
    """What would have been an occurrence, by the rules of its schedule alone."""
    told = {"at": each.at, "local_time": each.local_time, "rule": each.reason}
    if each.reason == "exclude":
        said = f"the job excludes that date: {words.whole(each.at)} is no occurrence (exclude)"
        return Finding(Code.EXCLUDED_DATE, said, each.at, events, told)
    clock = each.local_time.partition("T")[2][:5]
    if each.reason == "gap_skip":
        said = f"{clock} {words.timezone} did not exist that day: no occurrence (dst gap skip)"
        return Finding(Code.DST_SKIPPED, said, each.at, events, told)
    which = "first" if each.reason == "overlap_first" else "second"
    said = f"{clock} {words.timezone} came twice that day: the {which} counts, and {words.whole(each.at)} does not"
    return Finding(Code.DST_REPEATED, said, each.at, events, told)


def made(own: Mapping[str, Recorded]) -> tuple[Recorded, ...]:
    """The event that gave a job the schedule it has."""
    found = own.get("JobUpdated") or own.get("JobCreated")
    return () if found is None else (found,)


def replanned(recorded: Recorded, words: Words) -> Finding:
    """What newer zone tables did to what was announced."""
    event: ScheduleReplanned = recorded.change().event  # type: ignore[assignment]
    was, now, at = words.whole(event.was_for), event.next_for, words.brief(at_of(recorded))
    instead = "nothing is left" if now is None else f"it is {words.whole(now)} instead"
    said = f"{was} was announced, and taken back at {at} by the zone tables {event.to}: {instead}"
    return of_event(
        recorded,
        Code.REPLANNED,
        said,
        was_for=event.was_for,
        next_for=now,
        tables=event.to,
        before=event.from_,
    )


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
