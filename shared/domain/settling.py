"""What is due on one job at one instant, decided occurrence by occurrence (DESIGN §6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain import ids
from shared.domain.events import Change, JobCompleted, OccurrencesSkipped, RunRequested, SkipReason
from shared.domain.job import Status, evolve
from shared.domain.schedule import clock_notes, next_after
from shared.domain.spec import CATCH_UP_MAX, run_spec

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.job import Job
    from shared.domain.walk import ClockNote

FIRES_A_WAKE = 50  # a unit of this many runs is about 1 ms of script (DESIGN §5.2: 5 ms a batch)
WALK_A_WAKE = 1_000  # occurrences looked at; a longer backlog is settled in several units


class Settling:
    """What is due on one job at one instant, decided occurrence by occurrence.

    It keeps the job as it stands after each change, so that the overlap rule sees the runs of this very wake.
    """

    def __init__(self, job: Job, now: datetime, *, keep_paused: bool) -> None:
        self.job = job
        self.now = now
        self.changes: list[Change] = []
        self._keep_paused = keep_paused

    @property
    def settled(self) -> bool:
        """Whether nothing is due any more."""
        next_for = self.job.next_for
        return next_for is None or next_for > self.now or not self._counts

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
        due, following = self._due()
        if self.job.status is Status.PAUSED:
            self._skip(due, following, "paused")
        else:
            self._misfired_then_fresh(due, following)
        if self.job.next_for is None:
            self.add(Change(subject=f"job:{self.job.id}", event=JobCompleted()))

    def _due(self) -> tuple[list[datetime], datetime | None]:
        """Undecided occurrences up to now, at most WALK_A_WAKE, and the one after them."""
        first = self.job.next_for
        assert first is not None  # noqa: S101 - `settled` has said so
        schedule, anchor = self.job.spec.schedule, self.job.anchor_at
        # What was announced stays announced: `first` was computed when its predecessor was decided, and
        # is not computed again here, where newer zone tables might disagree.
        due = [first]
        following = next_after(schedule, first, anchor_at=anchor)
        while following is not None and following <= self.now and len(due) < WALK_A_WAKE:
            due.append(following)
            following = next_after(schedule, following, anchor_at=anchor)
        return due, following

    def _misfired_then_fresh(self, due: list[datetime], following: datetime | None) -> None:
        """What is later than the grace is up to the misfire policy; of `latest`, the newest that is due may run."""
        limit = self.now - self.job.grace
        late = sum(1 for at in due if at < limit)
        dropped = late
        match self.job.spec.misfire_policy:
            case "latest":
                newer_is_due = late < len(due) or (following is not None and following <= self.now)
                dropped = late if newer_is_due else late - 1
            case "all" if (room := min(late, CATCH_UP_MAX - self.job.late_runs)) > 0:
                self._fire(due[:room], (due + [following])[room])  # noqa: RUF005
                return  # the rest stays due: the next wake has it
        if dropped > 0:
            self._skip(due[:dropped], (due + [following])[dropped], "misfire")  # noqa: RUF005
            due = due[dropped:]
        self._fire(due, following)

    def _fire(self, due: list[datetime], following: datetime | None) -> None:
        afters = [*due[1:], following]
        blocked_from = 0
        for index, at in enumerate(due[:FIRES_A_WAKE]):
            if self.job.spec.overlap_policy == "skip" and self.job.active:
                break
            is_last = self.job.spec.schedule.is_used_up(self.job.runs + 1)
            self.add(self._requested(at, None if is_last else afters[index]))
            if is_last:  # those after it are no occurrences
                return
            blocked_from = index + 1
        if self.job.spec.overlap_policy == "skip" and due[blocked_from:]:
            self._skip(due[blocked_from:], following, "overlap", by=self.job.active[0])

    def _requested(self, at: datetime, following: datetime | None) -> Change:
        job = self.job
        run_id = ids.derived_id(at, ids.partition_of(job.id), job.id, str(ids.to_ms(at)), "schedule")
        event = RunRequested(
            job_id=job.id,
            scheduled_for=at,
            fires_at=at,
            trigger="schedule",
            revision=job.revision,
            spec=run_spec(job.spec),
            follows=job.follows,
            correlation_id=run_id,
            requested_at=self.now,
            next_for=following,
            clock=self._clock([at]),
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
            next_for=following,
            clock=self._clock(due),
        )
        self.add(Change(subject=f"job:{self.job.id}", event=event))

    def _clock(self, due: list[datetime]) -> tuple[ClockNote, ...]:
        """What was done where clocks changed, between the occurrence that was decided last and the last of `due`."""
        job = self.job
        since = job.anchor_at if job.decided_to is None else max(job.anchor_at, job.decided_to)
        return clock_notes(job.spec.schedule, since, due)
