"""Reasons: what keeps a job from running at a time, or will, each told from the event behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api.explaining import silence
from services.api.explaining.codes import Code
from services.api.explaining.finding import Finding, at_of, of_event, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from services.api.explaining.finding import Words
    from shared.domain.events import JobPaused, PersonalDataErased, ScheduleReplanned
    from shared.domain.job import Job
    from shared.domain.preview import Dropped, Planned
    from shared.eventlog.envelope import Recorded

PAUSES = (Code.PAUSED, Code.PAUSED_BY_FAILURES, Code.PAUSED_UNDECIDABLE)


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


def deleted(recorded: Recorded | None, job: Job, words: Words) -> Finding:
    """When the job was deleted, and by whom, if the event that tells is still there."""
    if recorded is None:  # retention has dropped it; the job was touched last by its erasure, if by any
        when = f"{'at' if job.erased is None else 'before'} {words.brief(job.updated_at)}"
        return Finding(Code.DELETED, f"the job was deleted {when}", job.updated_at)
    said = f"deleted by {recorded.actor} at {words.brief(at_of(recorded))}"
    return Finding(Code.DELETED, said, at_of(recorded), (recorded,), {"by": recorded.actor})


def erased(recorded: Recorded, words: Words) -> Finding:
    """By whom and why the job's personal data was erased."""
    event: PersonalDataErased = recorded.change().event  # type: ignore[assignment]
    said = (
        f"its personal data was erased by {event.by} at {words.brief(event.erased_at)}{quoted(event.reason)}"
    )
    return of_event(recorded, Code.ERASED, said, by=event.by, reason=event.reason)


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


def unreadable(error: ValueError, events: tuple[Recorded, ...], at: datetime) -> Finding:
    """A schedule that this build can't read."""
    said = f"its schedule can't be read by this version of Daybook and its zone tables: {error}"
    return Finding(Code.UNREADABLE_SCHEDULE, said, at, events, {"error": str(error)})


def left_out(
    each: Dropped, own: Mapping[str, Recorded], wishes: Mapping[datetime, Recorded], words: Words
) -> Finding:
    """A time that lies ahead, and at which the job is not going to run; `wishes`: to skip one, by its time."""
    told = {"scheduled_for": each.at, "by": each.by, "reason": each.reason}
    match each.reason:
        case "skipped":
            excluded = wishes.get(each.at)
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
