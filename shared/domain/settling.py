"""What is due on one job at one instant, decided occurrence by occurrence (DESIGN §6.3)."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from shared.domain import ids, overlaps
from shared.domain.ahead import Ahead, announced
from shared.domain.calendars import NONE, excluding
from shared.domain.events import (
    Change,
    JobCompleted,
    JobResumed,
    OccurrencesSkipped,
    RunRequested,
    SkipReason,
)
from shared.domain.jitter import fires_at
from shared.domain.job import Status, evolve
from shared.domain.schedule import TICK, clock_notes, next_after
from shared.domain.spec import CATCH_UP_MAX, run_spec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from shared.domain.calendars import Seen
    from shared.domain.job import Job, Pause
    from shared.domain.walk import ClockNote

FIRES_A_WAKE = 50  # a unit of this many runs is about 1 ms of script (DESIGN §5.2: 5 ms a batch)
BY = "timer"  # who ends a pause that has an end
WALK_A_WAKE = 1_000  # occurrences looked at; a longer backlog is settled in several units


class Drop(NamedTuple):
    """Why an occurrence that is due doesn't run; `by` as in OccurrencesSkipped."""

    reason: SkipReason
    by: str | None = None


class Settling:
    """What is due on one job at one instant, decided occurrence by occurrence.

    An occurrence is due when it fires, which with jitter is later than its time. The job is kept as it stands after
    each change, so that the overlap rule sees the runs of this very wake.
    """

    def __init__(
        self, job: Job, now: datetime, *, keep_paused: bool, calendars: Mapping[str, Seen] = NONE
    ) -> None:
        self.job = job
        self.now = now
        self.changes: list[Change] = []
        self._keep_paused = keep_paused
        self._calendars = excluding(job.spec.schedule, calendars)
        self._skipped_by = {skip.scheduled_for: skip.by for skip in job.skipped}

    @property
    def settled(self) -> bool:
        """Whether nothing is due any more."""
        return self._ended_pause is None and not (self._counts and self._has_due)

    @property
    def _ended_pause(self) -> Pause | None:
        """The job's pause, if it should have ended by itself."""
        pause = self.job.paused if self.job.status is Status.PAUSED else None
        return pause if pause is not None and pause.until is not None and pause.until <= self.now else None

    @property
    def _by(self) -> datetime:
        """What is due by then is decided first: what comes after the end of a pause is another matter."""
        pause, catching = self._ended_pause, self.job.catching_up
        if pause is not None and pause.until is not None:
            return pause.until
        return self.now if catching is None else catching.to

    @property
    def _has_due(self) -> bool:
        fires = self.job.fires_next_at
        return fires is not None and fires <= self._by

    @property
    def _counts(self) -> bool:
        """Whether occurrences are decided now: a paused job's only when something is to change that."""
        return self.job.status is Status.PENDING or (
            self.job.status is Status.PAUSED and not self._keep_paused
        )

    def add(self, *changes: Change) -> None:
        """Take these in: what is decided next sees the job after them."""
        for change in changes:
            self.job = evolve(self.job, change)
            self.changes.append(change)

    def settle(self) -> None:
        """Decide what is due, as much as goes into one unit."""
        if self.settled:
            return
        pause = self._ended_pause
        if self._has_due and (pause is None or pause.catch_up == "skip"):
            self._decide_due()
        if pause is not None and self._ended_pause is not None:
            if pause.catch_up == "skip" and self._has_due:
                return  # the rest of what fell due in it is the next unit's
            ended = JobResumed(by=BY, resumed_at=self._by, catch_up=pause.catch_up)
            self.add(Change(subject=f"job:{self.job.id}", event=ended))
            self.complete()

    def complete(self) -> None:
        """End a schedule that has nothing ahead; if it is paused, once it goes on: no pause is lost by that."""
        job = self.job
        goes_on = job.status is Status.PENDING and job.spec.schedule.kind != "none"
        if goes_on and job.next_for is None:
            self.add(Change(subject=f"job:{job.id}", event=JobCompleted()))

    def _decide_due(self) -> None:
        due, following = self._due()
        if self.job.status is Status.PAUSED:
            self._skip(due, following, "paused")
        else:
            self._decide(due, following)
        self.complete()

    def drop_begun(self, reason: SkipReason) -> None:
        """Skip an occurrence whose time has come, while jitter keeps it from firing yet."""
        begun = self.job.next_for
        if begun is not None and begun <= self.now:
            job = self.job
            following = next_after(job.spec.schedule, begun, anchor_at=job.anchor_at)
            self._skip([begun], following, "paused" if job.status is Status.PAUSED else reason)

    def _due(self) -> tuple[list[datetime], datetime | None]:
        """Undecided occurrences that are due, at most WALK_A_WAKE, and the one after them."""
        first = self.job.next_for
        assert first is not None  # noqa: S101 - `settled` has said so
        schedule, anchor = self.job.spec.schedule, self.job.anchor_at
        # What was announced stays announced: `first` was computed when its predecessor was decided, and
        # is not computed again here, where newer zone tables might disagree.
        due = [first]
        following = next_after(schedule, first, anchor_at=anchor)
        while self._is_due(following) and len(due) < WALK_A_WAKE:
            assert following is not None  # noqa: S101 - it is due
            due.append(following)
            following = next_after(schedule, following, anchor_at=anchor)
        return due, following

    def _is_due(self, at: datetime | None) -> bool:
        """Of an occurrence after the one that was announced."""
        if at is None or at > self._by:
            return False
        job = self.job
        schedule = job.spec.schedule
        if not schedule.jitter_seconds:
            return True
        following = next_after(schedule, at, anchor_at=job.anchor_at)
        return fires_at(schedule, job.id, at, following) <= self._by

    def _decide(self, due: list[datetime], following: datetime | None) -> None:
        """Run or skip, in order: consecutive ones that are skipped for one reason are one event."""
        afters = [*due[1:], following]
        begin = 0
        for drop, alike in groupby(self._replaced(due, self._drops(due, afters))):
            end = begin + len(list(alike))
            if due[begin] != self.job.next_for:  # a unit's worth is fired, or max_runs is reached
                return
            if drop is None:
                self._fire(due[begin:end], afters[end - 1])
            else:
                self._skip(due[begin:end], afters[end - 1], drop.reason, drop.by)
            begin = end

    def _drops(self, due: list[datetime], afters: list[datetime | None]) -> list[Drop | None]:
        """What becomes of each of `due`: dropped, or None, run if nothing overlaps. Left out at the end: stays due.

        What is excluded was never to run, so it is neither late nor the newest. Of the others, what is later than the
        grace is up to the misfire policy, and what fell due in a pause to what its end said, however late that is: of
        `latest`, the newest that is due may run.
        """
        drops = [self._excluded(at) for at in due]
        limit, catching = self.now - self.job.grace, self.job.catching_up
        # Of two, the first may be the later one: what jitter held back when an edit gave the job closer times.
        if catching is None and all(
            self._fires_at(*each) >= limit for each in zip(due[:2], afters, strict=False)
        ):
            return drops  # nothing is late, as nearly always
        wanted = [index for index, drop in enumerate(drops) if drop is None]
        reason: SkipReason = "misfire" if catching is None else "paused"
        if catching is None:
            policy, left = self.job.spec.misfire_policy, CATCH_UP_MAX - self.job.late_runs
            late = [index for index in wanted if self._fires_at(due[index], afters[index]) < limit]
        else:
            policy, left, late = catching.policy, catching.left, wanted
        match policy:
            case "latest" if late and len(late) == len(wanted) and not self._has_newer(afters[-1]):
                late = late[:-1]
            case "all" if late and left > 0:
                if overlaps.in_the_way(self.job, self.job.spec.overlap_policy) is not None:
                    return drops  # none runs, so none counts as one of those that are left
                return drops[: late[:left][-1] + 1]  # the rest stays due: the next wake has it
        for index in late:
            drops[index] = Drop(reason)
        return drops

    def _has_newer(self, at: datetime | None) -> bool:
        """Whether of what is due from `at` on, which later units decide, one isn't excluded: a search a span."""
        job = self.job
        while at is not None and self._is_due(at):
            if (drop := self._excluded(at)) is None:
                return True
            end = at if drop.reason == "excluded" else self._calendars.until(at) - TICK
            at = next_after(job.spec.schedule, end, anchor_at=job.anchor_at)
        return False

    def _excluded(self, at: datetime) -> Drop | None:
        """What keeps the job from running at `at` though that is an occurrence: somebody skipped it, or a calendar."""
        if (by := self._skipped_by.get(at)) is not None:
            return Drop("excluded", by)
        by = self._calendars.by(at)
        return None if by is None else Drop("calendar", by)

    def _fires_at(self, at: datetime, following: datetime | None) -> datetime:
        """When an occurrence that is due fires; of the one that was announced, as announced."""
        job = self.job
        if at == job.next_for:
            return job.next_fires_at or at
        return fires_at(job.spec.schedule, job.id, at, following)

    def _fire(self, due: list[datetime], following: datetime | None) -> None:
        policy = self.job.spec.overlap_policy
        afters = [*due[1:], following]
        for index, at in enumerate(due[:FIRES_A_WAKE]):
            if (by := overlaps.in_the_way(self.job, policy)) is not None:
                self._skip(due[index:], following, "overlap", by)
                return
            if policy == "replace" and not self._makes_way_for(at):
                return
            is_last = self.job.spec.schedule.is_used_up(self.job.runs + 1)
            self.add(self._requested(at, None if is_last else afters[index]))
            if is_last:  # those after it are no occurrences
                return

    def _makes_way_for(self, at: datetime) -> bool:
        """Whether all that the run of this occurrence replaces is to end; else that is more than a unit takes."""
        reason = overlaps.replaced_by(self._run_id(at))
        self.add(*overlaps.cancelled(self.job, by=overlaps.BY, reason=reason, now=self.now))
        if self.job.waiting:
            return False
        self.add(*overlaps.stopped(self.job, by=overlaps.BY, reason=reason, now=self.now))
        return not overlaps.go_on(self.job)

    def _replaced(self, due: list[datetime], drops: list[Drop | None]) -> list[Drop | None]:
        """The same, but of those that would run and replace each other the newest alone does."""
        wanted = [index for index, drop in enumerate(drops) if drop is None]
        if self.job.spec.overlap_policy == "replace" and len(wanted) > 1:
            for index in wanted[:-1]:
                drops[index] = Drop("overlap", self._run_id(due[wanted[-1]]))
        return drops

    def _run_id(self, at: datetime) -> str:
        job = self.job
        return ids.derived_id(at, ids.partition_of(job.id), job.id, str(ids.to_ms(at)), "schedule")

    def _requested(self, at: datetime, following: datetime | None) -> Change:
        job = self.job
        run_id = self._run_id(at)
        event = RunRequested(
            job_id=job.id,
            scheduled_for=at,
            fires_at=job.next_fires_at or at,  # it is the one announced by what was decided before
            trigger="schedule",
            revision=job.revision,
            spec=run_spec(job.spec, tenant=job.tenant),
            held=overlaps.waits(job, job.spec.overlap_policy),
            follows=job.follows,
            correlation_id=run_id,
            requested_at=self.now,
            clock=self._clock([at]),
            calendars=self._calendars.passed,
            **self._announced(following),
        )
        return Change(subject=f"run:{run_id}", event=event, job=job.id, both=True)

    def _skip(
        self, due: list[datetime], following: datetime | None, reason: SkipReason, by: str | None = None
    ) -> None:
        if not due:
            return
        event = OccurrencesSkipped(
            from_=due[0],
            to=due[-1],
            count=len(due),
            reason=reason,
            by=by,
            clock=self._clock(due),
            **self._announced(following),
        )
        self.add(Change(subject=f"job:{self.job.id}", event=event))

    def _announced(self, following: datetime | None) -> Ahead:
        job = self.job
        return announced(
            following,
            schedule=job.spec.schedule,
            job_id=job.id,
            anchor_at=job.anchor_at,
            skipped=job.skipped,
        )

    def _clock(self, due: list[datetime]) -> tuple[ClockNote, ...]:
        """What was done where clocks changed, between the occurrence that was decided last and the last of `due`."""
        job = self.job
        since = job.anchor_at if job.decided_to is None else max(job.anchor_at, job.decided_to)
        return clock_notes(job.spec.schedule, since, due)
