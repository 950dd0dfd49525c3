"""Simulations as answers: both ways side by side, summed up, and what they go by."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from services.api.simulation_contract import (
    LISTED_MAX,
    ComparedView,
    DecidedView,
    PausedByFailuresView,
    RefusedView,
    SideView,
    SpanView,
    TotalsView,
)
from shared.domain.comparison import Compared, compared, side
from shared.domain.job import Status
from shared.eventlog.envelope import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from services.api.responses import RunStatus
    from shared.domain.decided import Decided
    from shared.domain.events import SkipReason
    from shared.domain.job import Job
    from shared.domain.simulation import Simulation
    from shared.domain.tries import Story

_GOES_BY = (
    "Pauses, skips by hand and triggers that there were stay in force; so do edits, but for the fields simulated.",
    "A timer that was late is as late here, as far as this job's own record tells; else it was in time.",
    (
        "A run that there was takes as long as it took; its attempts do what they did, under the retry policy, start "
        "deadline and timeout simulated. Exceptions are known by their own class only, not by their bases."
    ),
    "Calendars are read as they were at the time of each decision; ahead, as they are now.",
    (
        "Concurrency keys, rates, queues and priorities change when a run starts, not whether it comes: what the runs "
        "of other jobs make of that is not simulated, nor is what follows on runs."
    ),
    "Zones go by the present tables.",
)


def span_of(
    since: datetime,
    until: datetime,
    was: Sequence[Decided],
    copy: Simulation,
    stories: Mapping[str, Story],
    *,
    is_cut: bool = False,
) -> SpanView:
    """A span by both ways; `is_cut`: it ends before it was to."""
    would = [each for each in copy.decided if each.decided_at <= until]
    both = compared(was, would)
    counts = Counter(each.change for each in both)
    listed = _listed(both)
    return SpanView(
        from_=since,
        to=until,
        was=SideView(**side(was)._asdict()),
        would=SideView(**side(would)._asdict()),
        totals=TotalsView(
            same=counts["same"],
            added=counts["added"],
            removed=counts["removed"],
            moved=counts["moved"],
            changed=counts["changed"],
        ),
        items=[
            ComparedView(
                change=each.change,
                was=each.was and _decided(each.was, stories),
                would=each.would and _decided(each.would, {}),
            )
            for each in listed
        ],
        truncated=is_cut or len(listed) < len(both),
        refused=[
            RefusedView(at=each.at, command=each.what, detail=each.why) for each in copy.refused[:LISTED_MAX]
        ],
        paused_by_failures=[PausedByFailuresView(at=each.at, reason=each.reason) for each in copy.paused],
    )


def assumptions(*, since: datetime, measured: int, unfit: bool, job: Job) -> list[str]:
    """What an answer goes by, in sentences."""
    usual = (
        f"A run that there wasn't takes the median of the latest {measured} that ended, and succeeds: what hangs on "
        "that is estimated."
        if measured
        else "No run of the job has ended: one that there wasn't is thought to end at once, and collides with nothing."
    )
    told = [
        f"The past is as if the job had been changed at {rfc3339(since)}, the future as if it were now.",
        usual,
    ]
    if unfit:
        told.append("The change doesn't fit a specification that the job once had: that one stays as it was.")
    if job.status is Status.PAUSED and (job.paused is None or job.paused.until is None):
        told.append("The job is paused until somebody resumes it: ahead, nothing runs either way.")
    return [*told, *_GOES_BY]


def _listed(both: Sequence[Compared]) -> list[Compared]:
    """As many as are shown, those that differ first; in order."""
    if len(both) <= LISTED_MAX:
        return list(both)
    different = [each for each in both if each.change != "same"][:LISTED_MAX]
    alike = [each for each in both if each.change == "same"][: LISTED_MAX - len(different)]
    return sorted((*different, *alike), key=lambda each: each.at)


def _decided(decided: Decided, stories: Mapping[str, Story]) -> DecidedView:
    story = stories.get(decided.run_id or "")
    places = (decided.place,) if decided.place else ()
    return DecidedView(
        scheduled_for=decided.at,
        decision="run" if decided.runs else "skip",
        reason=cast("SkipReason | None", decided.reason),
        by=decided.by,
        fires_at=decided.fires_at,
        decided_at=decided.decided_at,
        execution_id=decided.run_id,
        status=cast("RunStatus | None", story and story.status),
        waits=decided.held,
        collides_with=decided.beside,
        estimated=decided.guessed,
        positions=list(story.places if story is not None else places),
    )
