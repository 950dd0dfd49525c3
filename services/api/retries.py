"""Running again what has ended badly: the one way, for one execution and for many.

A run is retried once. The retry's commit keeps `once` for a day, so that of two requests one writes and both get the
same run; after that the ledger knows it by its `of`. Whoever wants another try retries the newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from msgspec.structs import replace

from services.api.job_specs import JobSpecs
from services.api.problems import Problem, unavailable
from shared.domain import ids
from shared.domain.commands import RetryRun
from shared.domain.run import ENDED, Run, Status
from shared.eventlog import once
from shared.eventlog.envelope import UnknownEvent
from shared.recovery import recorded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import asyncpg

    from services.api.deps import Deps
    from services.api.writes import Writes, Written
    from shared.domain.events import RunRequested
    from shared.domain.spec import OverlapPolicy, RunSpec
    from shared.eventlog.decider import Decided
    from shared.eventlog.envelope import Context
    from shared.eventlog.snapshot import Snapshot
    from shared.eventlog.unit import Once

GONE = "The job of this execution was deleted: what it ran stays readable, but is not run again."


class Letter(NamedTuple):
    """What an ended run was to do, and a retry of it is."""

    run_id: str
    job_id: str
    scheduled_for: datetime
    revision: int
    spec: RunSpec


class Asked(NamedTuple):
    """A retry that may be decided: on which job, the command, and what makes it happen once."""

    ref: str
    command: RetryRun
    once: Once


class Retries:
    """Makes retries of ended runs and has them decided."""

    def __init__(self, deps: Deps, write: Writes) -> None:
        self._deps = deps
        self._write = write
        self._specs = JobSpecs(deps)

    async def written(
        self, asked: Asked, context: Context, *, wait_s: float, once: tuple[Once, ...] = ()
    ) -> Written:
        """The retry, or the one there was already, once the archive has it or `wait_s` have gone by.

        Args:
            asked: for.
            context: on whose behalf.
            wait_s: for the archive.
            once: what else is answered by it, and looked for first.

        Raises:
            Problem: it was refused, or a store doesn't answer.
        """
        try:
            done = await self._write(
                asked.ref, asked.command, context, wait_s=wait_s, once=(*once, asked.once)
            )
        except Problem as problem:
            raise _said(problem) from None
        self._count(done.decided)
        return done

    async def decided(self, asked: Asked, context: Context, held: Snapshot | None) -> Decided:
        """As `written`, without waiting for the archive; `held` is the job's snapshot, if the caller has it."""
        try:
            done = await self._write.decide(asked.ref, asked.command, context, held=held, once=(asked.once,))
        except Problem as problem:
            raise _said(problem) from None
        self._count(done)
        return done

    async def asked(
        self,
        letter: Letter,
        context: Context,
        *,
        over: Mapping[str, Any] | None = None,
        priority: int | None = None,
        overlap_policy: OverlapPolicy | None = None,
    ) -> Asked:
        """The retry of an ended run.

        Args:
            letter: the run.
            context: on whose behalf.
            over: laid over the run's data, key by key, and checked.
            priority: instead of the run's.
            overlap_policy: instead of the job's.

        Raises:
            Problem: 422 for data that the job's type can't take, 403 for what isn't theirs to say.
        """
        partition = ids.partition_of(letter.job_id)
        run_id = ids.chance_id(self._deps.log.now(), partition, self._deps.chance())
        command = RetryRun(
            run_id=run_id,
            correlation_id=context.corr,
            of=letter.run_id,
            scheduled_for=letter.scheduled_for,
            revision=letter.revision,
            spec=await self._spec(letter, over, priority),
            overlap_policy=overlap_policy,
        )
        return Asked(f"job:{letter.job_id}", command, once.of_retry(letter.run_id, answer=run_id))

    async def _spec(self, letter: Letter, over: Mapping[str, Any] | None, priority: int | None) -> RunSpec:
        spec = letter.spec
        if over is not None:
            try:
                data = await self._specs.laid_over(
                    spec.job_type, spec.job_data, over, letter.job_id, tenant=None
                )
            except Problem as problem:
                raise _said(problem) from None
            spec = replace(spec, job_data=data)
        return spec if priority is None else replace(spec, priority=priority)

    def _count(self, done: Decided) -> None:
        self._deps.metrics.count_occurrences(done.changes, self._deps.log.now())
        self._deps.metrics.count_ends(done.ended)


def letter_of_state(run: Run) -> Letter:
    """The ended run, as the write model still has it."""
    return Letter(run.id, run.job_id, run.scheduled_for, run.revision, run.spec)


def letter_of_request(row: asyncpg.Record) -> Letter:
    """The ended run of which this is the archived RunRequested.

    Raises:
        Problem: 503; a newer Daybook wrote it.
    """
    try:
        change = recorded(row).change()
    except UnknownEvent:
        raise unavailable(
            "The execution was requested by a newer version of Daybook; an upgrade is under way."
        ) from None
    event = cast("RunRequested", change.event)
    run_id = change.subject.removeprefix("run:")
    return Letter(run_id, event.job_id, event.scheduled_for, event.revision, event.spec)


def refuse_unless_retriable(status: str) -> None:
    """Only what has ended badly is retried.

    Raises:
        Problem: 409.
    """
    if status not in ENDED:
        detail = f"The execution is {status}: wait until it has ended, or cancel it."
        raise Problem("illegal-transition", detail, current=status)
    if status == Status.SUCCEEDED:
        detail = "The execution succeeded: trigger its job to run it another time."
        raise Problem("illegal-transition", detail, current=status)


def _said(problem: Problem) -> Problem:
    """The path names an execution, and that is there: what is missing is its job."""
    if problem.slug == "not-found":
        return Problem("illegal-transition", GONE, current="deleted")
    return problem
