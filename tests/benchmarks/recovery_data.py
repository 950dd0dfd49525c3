"""What `make bench-recovery` recovers: a cold copy of jobs that have fired for weeks, as the domain decides."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared.domain import following, ids, kinds
from shared.domain import run as running
from shared.domain.commands import CreateJob, FailRun, StartRun, SucceedRun, Wake
from shared.domain.events import Failure, LogOpened
from shared.domain.job import Job
from shared.domain.kinds import Seen
from shared.domain.retry import RetryPolicy
from shared.domain.run import Run
from shared.domain.schedule import Schedule
from shared.domain.spec import JobSpec
from shared.eventlog.envelope import Context
from shared.eventlog.opening import encode
from shared.eventlog.plan import planned
from shared.eventlog.position import Position
from shared.eventlog.snapshot import NOTHING, Snapshot
from shared.eventlog.unit import Committed, Draft
from shared.readmodel.chain import link
from shared.readmodel.cold.directory import Directory
from shared.readmodel.cold.manifest import Manifest
from shared.readmodel.cold.segments import Chain, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shared.domain.commands import Command

PREFIX, PARTITIONS = "recovery", 4
DAYS = 20  # that are told of
EVENTS_A_RUN = 3  # RunRequested, RunStarted, RunSucceeded
LEASE = timedelta(seconds=15)
RETRY = RetryPolicy(max_retries=3, initial_seconds=86_400.0, max_seconds=86_400.0)
_MS = timedelta(milliseconds=1)
_NO = Failure(class_="ConnectionError", message="nobody answers")


@dataclass(slots=True)
class Standing:
    """What must stand in Redis in the end: member of the due index → score (running runs: none), run → its entry."""

    jobs: int = 0
    due: dict[str, int | None] = field(default_factory=dict)
    queued: dict[str, str] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)

    def add(self, ref: str, held: Snapshot) -> None:
        """An aggregate, as it was left."""
        state = held.state
        if isinstance(state, Job):
            self.jobs += 1
            if state.due_at is not None:
                self.due[ref] = ids.to_ms(state.due_at)
        elif isinstance(state, Run) and not state.ended:
            self.runs[state.status] = self.runs.get(state.status, 0) + 1
            if state.offered:
                self.queued[state.id] = str(held.version)
            elif state.status == "running":
                self.due[ref] = None
            elif (at := running.due_at(state, now=state.fires_at, lease=LEASE)) is not None:
                self.due[ref] = ids.to_ms(at)


def write(path: Path, *, events: int, jobs: int, until: datetime | None = None) -> Standing:
    """Write a copy of about so many events into an empty directory; what must come of it.

    Of the runs asked for last a hundredth is left unfinished: queued, at work, or waiting for its next attempt.
    """
    fresh = Manifest(partitions=PARTITIONS, prefix=PREFIX, compression="zstd", segments=())
    copy, standing = Directory.made(path, fresh), Standing()
    end = (until or datetime.now(UTC)).replace(microsecond=0)  # noqa: TID251 - nothing is to be due before it is read
    for partition in range(PARTITIONS):
        chain = Chain()
        writer = SegmentWriter(partition, chain, "zstd")
        author = _Author(partition, end - timedelta(days=DAYS))
        for event, chained in _linked(author.story(events // PARTITIONS, jobs // PARTITIONS, end)):
            writer.add(event, chained)
            if writer.is_full:
                copy.keep(*writer.finish())
                writer = SegmentWriter(partition, chain, "zstd")
        if not writer.is_empty:
            copy.keep(*writer.finish())
        for ref, held in author.held.items():
            standing.add(ref, held)
    return standing


class _Author:
    """Decides and writes down what happens in one partition.

    Args:
        partition: its number.
        since: when it begins.
    """

    def __init__(self, partition: int, since: datetime) -> None:
        self._partition = partition
        self._chance = random.Random(partition)
        self._now = since
        self._epoch, self._pos = ids.to_ms(since), 0
        self.held: dict[str, Snapshot] = {}

    def story(self, events: int, jobs: int, end: datetime) -> Iterator[tuple[Any, ...]]:
        """The events, as the chain goes over them."""
        yield self._opened()
        interval = self._interval(events, jobs)
        made: list[str] = []
        for number in range(jobs):
            self._now += interval / jobs
            made.append(ids.chance_id(self._now, self._partition, self._bits()))
            yield from self._decides(f"job:{made[-1]}", _create(made[-1], number, interval), "ann")
        runs = (events - 1 - jobs) // EVENTS_A_RUN
        for number in range(runs):
            ref = f"job:{made[number % jobs]}"
            state = self.held[ref].state
            assert isinstance(state, Job)
            if (at := state.due_at) is None or at > end:
                return
            self._now = max(self._now + _MS, at)
            yield from self._fires(ref, left=runs - number)

    @staticmethod
    def _interval(events: int, jobs: int) -> timedelta:
        rounds = (events - jobs) / jobs / EVENTS_A_RUN
        return timedelta(seconds=int(DAYS * 86_400 / (rounds + 1.5)))

    def _fires(self, ref: str, *, left: int) -> Iterator[tuple[Any, ...]]:
        """A run of the job, to its end but for some of the last ones."""
        yield from self._decides(ref, Wake(), "timer")
        run = next(reversed(self.held))
        if not run.startswith("run:"):
            return  # it was skipped: one is still under way
        last = left <= 100 + 0.01 * self._pos / EVENTS_A_RUN
        if last and left % 3 == 0:
            return
        self._now += 2 * _MS
        started = self._pos + 1
        yield from self._decides(run, StartRun(worker="w1"), "executor")
        if last and left % 3 == 1:
            return
        cause, fence = self._last_id, f"{self._epoch}-{started}"
        end: Command = SucceedRun(fence=fence, result={"rows": 7})
        if last:
            end = FailRun(fence=fence, error=_NO, names=("ConnectionError",), draw=0.5)
        self._now += 30 * _MS
        yield from self._decides(run, end, "executor", cause)
        if not last:
            del self.held[run]

    def _decides(self, ref: str, command: Command, actor: str, cause: str = "") -> Iterator[tuple[Any, ...]]:
        """Carry a command out as the decider does."""
        held = self.held.get(ref, NOTHING)
        seen = Seen(held.fence, {})
        decision = kinds.of_ref(ref).decide(held.state, command, self._now, seen)
        assert decision.settled
        known = {
            each: self.held.get(each, NOTHING) for change in decision.changes for each in change.advances
        }
        if following.has_followed(decision.changes):
            (job,) = (each.state for each in known.values() if isinstance(each.state, Job))
            assert not following.next_to_run(following.after(job, decision.changes))
        plan = planned(
            decision, known, Context(actor=actor, cause=cause, corr="c"), now=self._now, lease=LEASE,
            chance=self._bits, woken=(), done=(), once=(),
        )  # fmt: skip
        first = Position(self._epoch, self._pos + 1)
        for draft in plan.unit.events:
            yield self._event(draft)
        last = Position(self._epoch, self._pos)
        self.held.update(
            plan.snapshots(known, Committed(first=first, last=last, now_ms=ids.to_ms(self._now)))
        )

    def _event(self, draft: Draft) -> tuple[Any, ...]:
        self._pos += 1
        self._last_id = draft.id
        return (
            self._partition, self._epoch, self._pos, draft.id, draft.type, int(draft.v), draft.subject, draft.job,
            draft.advances, ids.to_ms(self._now), draft.actor, draft.cause, draft.corr, draft.trace, draft.data,
        )  # fmt: skip

    def _opened(self) -> tuple[Any, ...]:
        event = LogOpened(epoch=self._epoch, reason="first", previous=None, partitions=PARTITIONS)
        event_id = ids.event_id(self._epoch, self._bits())
        told = (
            event_id,
            "LogOpened",
            str(event.VERSION),
            "log",
            "",
            "subject",
            "system",
            "",
            "",
            "",
            encode(event),
        )
        return self._event(Draft(*told))

    def _bits(self) -> int:
        return self._chance.getrandbits(80)


def _create(job_id: str, number: int, interval: timedelta) -> CreateJob:
    spec = JobSpec(
        name=f"job {number}",
        description="what it is for, in a sentence or two, as people write it",
        tags=("night", f"team {number % 20}"),
        job_type="custom",
        job_data={"operation": "echo", "parameters": {"number": number, "where": "s3://somewhere/or/other"}},
        schedule=Schedule(interval_seconds=int(interval.total_seconds())),
        retry=RETRY,
        overlap_policy="skip" if number % 5 == 0 else "allow",
    )
    return CreateJob(job_id=job_id, spec=spec, owner=f"owner {number % 50}", tenant="default")


def _linked(events: Iterator[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], bytes]]:
    chained = bytes(32)
    for event in events:
        chained = link(chained, event)
        yield event, chained
