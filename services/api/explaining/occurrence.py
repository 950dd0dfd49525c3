"""An occurrence that the schedule has decided: what its time was, and why it ran or was skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from services.api.explaining import reasons, silence
from services.api.explaining.codes import Code
from services.api.explaining.finding import Finding, at_of, counted, lasting, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from services.api.explaining.finding import Words
    from services.api.explaining.silence import Silence
    from shared.domain.events import OccurrencesSkipped, RunRequested
    from shared.domain.job import Job
    from shared.domain.walk import ClockNote
    from shared.eventlog.envelope import Recorded


class Around(NamedTuple):
    """What stands beside a decision of the schedule.

    Attributes:
        job: as it was just before; None: what is known of it has been dropped.
        silence: from when it was due; None: it was decided in time.
        paused: the latest JobPaused before it.
        resumed: the end of that pause, or whatever else has decided what fell due in it.
        excluded: the OccurrenceExcluded behind it.
        named: the event of the calendar, or of the run in the way.
    """

    job: Job | None = None
    silence: Silence | None = None
    paused: Recorded | None = None
    resumed: Recorded | None = None
    excluded: Recorded | None = None
    named: Recorded | None = None


def fired(recorded: Recorded, event: RunRequested, around: Around, words: Words) -> Iterator[Finding]:
    """An occurrence that ran."""
    yield _scheduled(recorded, event.scheduled_for, words, revision=event.revision)
    yield from _clock(recorded, event.clock, event.scheduled_for, words)
    if event.fires_at > event.scheduled_for:
        yield _jittered(recorded, event, words)
    if around.silence is not None:
        yield from silence.told(around.silence, words)
    yield from _caught_up(recorded, event, around, words)
    late_s = (at_of(recorded) - event.fires_at).total_seconds()
    yield Finding(
        Code.FIRED,
        f"fired {words.brief(at_of(recorded))}",
        at_of(recorded),
        (recorded,),
        {"run_id": recorded.subject.removeprefix("run/"), "late_seconds": late_s, "by": recorded.actor},
    )


def skipped(
    recorded: Recorded, event: OccurrencesSkipped, at: datetime, around: Around, words: Words
) -> Iterator[Finding]:
    """An occurrence that was skipped."""
    yield _scheduled(recorded, at, words, revision=None if around.job is None else around.job.revision)
    yield from _clock(recorded, event.clock, at, words)
    if around.silence is not None and event.reason not in {"paused", "edited", "deleted"}:
        yield from silence.told(around.silence, words)
    if event.reason == "paused" and around.paused is not None:
        yield reasons.paused(around.paused, words)
    yield _reason(recorded, event, around, words)


def _scheduled(recorded: Recorded, at: datetime, words: Words, *, revision: int | None) -> Finding:
    by = "" if revision is None else f" by revision {revision}"
    return Finding(
        Code.SCHEDULED,
        f"scheduled for {words.whole(at)}{by}",
        at,
        (recorded,),
        {"scheduled_for": at, "revision": revision, "timezone": words.timezone},
    )


def _clock(recorded: Recorded, notes: Sequence[ClockNote], at: datetime, words: Words) -> Iterator[Finding]:
    """What was done about this occurrence where clocks changed; others in the same event are not its matter."""
    for note in notes:
        if note.rule == "gap_next_valid" and note.at == at:
            yield moved(note, words, (recorded,))
        elif note.rule == "overlap_last" and words.local(note.at)[:19] == words.local(at)[:19]:
            yield repeated(note.rule, at, note.at, words, (recorded,))


def moved(note: ClockNote, words: Words, events: tuple[Recorded, ...]) -> Finding:
    """A time of day that didn't exist, and where its occurrence went."""
    clock = note.local_time.partition("T")[2][:5]
    return Finding(
        Code.DST_MOVED,
        f"{clock} {words.timezone} did not exist that day: moved to {words.brief(note.at)} (dst next_valid)",
        note.at,
        events,
        {"local_time": note.local_time, "moved_to": note.at, "rule": note.rule},
    )


def repeated(
    rule: str, counts: datetime, other: datetime, words: Words, events: tuple[Recorded, ...]
) -> Finding:
    """A time of day that came twice: the one that counts, and the one that doesn't."""
    which = "first" if rule == "overlap_first" else "last"
    return Finding(
        Code.DST_REPEATED,
        f"{words.brief(counts)} {words.timezone} came twice that day: the {which} counts (dst overlap {which})",
        counts,
        events,
        {"counts": counts, "dropped": other, "rule": rule},
    )


def _jittered(recorded: Recorded, event: RunRequested, words: Words) -> Finding:
    by = event.fires_at - event.scheduled_for
    return Finding(
        Code.JITTERED,
        f"jitter put it off by {lasting(by.total_seconds())}, to {words.brief(event.fires_at)}",
        event.fires_at,
        (recorded,),
        {"fires_at": event.fires_at, "jitter_seconds": by.total_seconds()},
    )


def _caught_up(recorded: Recorded, event: RunRequested, around: Around, words: Words) -> Iterator[Finding]:
    job = around.job
    if job is None:
        return
    if job.catching_up is not None:
        pause = [] if around.paused is None else [reasons.paused(around.paused, words)]
        yield from pause
        yield Finding(
            Code.PAUSE_CAUGHT_UP,
            f"it fell due in a pause, whose end had it caught up ({job.catching_up.policy})",
            at_of(recorded),
            tuple(each for each in (around.resumed, recorded) if each is not None),
            {"catch_up": job.catching_up.policy},
        )
    elif event.requested_at - event.fires_at > job.grace:
        policy, grace_s = job.spec.misfire_policy, job.grace.total_seconds()
        yield Finding(
            Code.CAUGHT_UP,
            f"later than the grace of {lasting(grace_s)}, it was run all the same (misfire_policy {policy})",
            at_of(recorded),
            (recorded,),
            {"misfire_policy": policy, "misfire_grace_seconds": grace_s},
        )


def _reason(recorded: Recorded, event: OccurrencesSkipped, around: Around, words: Words) -> Finding:
    """Why it was skipped."""
    code, sentence, beside, details = _why(recorded, event, around, words)
    if event.count > 1:
        sentence += f"; so were {counted(event.count, 'occurrence')} in a row"
    told = details | {"reason": event.reason, "from": event.from_, "to": event.to, "count": event.count}
    events = sorted((recorded, *(each for each in beside if each is not None)), key=_place)
    return Finding(code, sentence, at_of(recorded), tuple(events), told)


_Why = tuple[Code, str, "tuple[Recorded | None, ...]", dict[str, Any]]


def _why(recorded: Recorded, event: OccurrencesSkipped, around: Around, words: Words) -> _Why:
    by, at = event.by or "", words.brief(at_of(recorded))
    match event.reason:
        case "misfire":
            return _misfire(around)
        case "overlap":
            return _overlap(by, around)
        case "paused":
            how = "" if around.resumed is None else f" ({_ended(around.resumed)})"
            return (
                Code.PAUSE_SKIPPED,
                f"skipped at {at} as it fell due in the pause{how}",
                (around.resumed,),
                {},
            )
        case "excluded":
            return _by_hand(by, around, words)
        case "calendar":
            name = by.partition("@")[0]
            return (
                Code.CALENDAR,
                f"skipped: calendar {name} excludes it",
                (around.named,),
                {"calendar": name, "seen": by},
            )
        case "edited":
            said = f"skipped: {recorded.actor} edited the schedule at {at}, before jitter let it fire"
            return Code.EDITED, said, (around.resumed,), {"by": recorded.actor}
        case "deleted":
            said = f"skipped: {recorded.actor} deleted the job at {at}, before jitter let it fire"
            return Code.DELETED, said, (around.resumed,), {"by": recorded.actor}


def _misfire(around: Around) -> _Why:
    if around.job is None:
        return Code.MISFIRE, "skipped, as it was later than the grace (misfire_policy)", (), {}
    policy, grace_s = around.job.spec.misfire_policy, around.job.grace.total_seconds()
    why = {"latest": "a newer one ran instead", "skip": "none that is late runs", "all": "too many were late"}
    said = f"skipped, as it was later than the grace of {lasting(grace_s)} (misfire_policy {policy}: {why[policy]})"
    return Code.MISFIRE, said, (), {"misfire_policy": policy, "misfire_grace_seconds": grace_s}


def _overlap(by: str, around: Around) -> _Why:
    policy = None if around.job is None else around.job.spec.overlap_policy
    what = f"run {by} of the job had not ended"
    if policy == "replace":
        what = f"run {by} of a newer occurrence takes its place"
    elif around.job is not None and by in around.job.waiting:
        what = f"run {by} of the job waits already"
    told = "overlap_policy" if policy is None else f"overlap_policy {policy}"
    return (
        Code.OVERLAP,
        f"skipped: {what} ({told})",
        (around.named,),
        {"run_id": by, "overlap_policy": policy},
    )


def _by_hand(by: str, around: Around, words: Words) -> _Why:
    if around.excluded is None:
        return Code.SKIPPED_BY_HAND, f"skipped: {by} wanted that", (), {"by": by}
    wish = around.excluded.change().event
    reason, at = wish.reason, wish.excluded_at  # type: ignore[attr-defined]
    said = f"skipped: {by} wanted that at {words.brief(at)}{quoted(reason)}"
    return Code.SKIPPED_BY_HAND, said, (around.excluded,), {"by": by, "reason_given": reason}


def _ended(resumed: Recorded) -> str:
    match resumed.type:
        case "JobResumed":
            return f"resumed by {resumed.actor}"
        case "JobUpdated":
            return f"edited by {resumed.actor}"
        case _:
            return f"deleted by {resumed.actor}"


def _place(recorded: Recorded) -> tuple[int, int]:
    return recorded.partition, recorded.position.pos


def needs_silence(due_at: datetime, recorded: Recorded) -> bool:
    """Whether a decision came so late that the log around it is to be looked at."""
    return silence.is_late(due_at, at_of(recorded))
