"""What an executor says of its attempts: metrics, and a log line for each end."""

from __future__ import annotations

from functools import cache
from logging import INFO, WARNING
from typing import TYPE_CHECKING, get_args

from shared import logs
from shared.domain.commands import FailRun, InterruptRun, SucceedRun
from shared.domain.events import HoldReason
from shared.domain.run import ENDED, Status
from shared.eventlog import story

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from shared.domain.run import Run
    from shared.eventlog.decider import Decided
    from shared.metrics import Metrics

ATTEMPTS = ("succeeded", "failed", "interrupted", "cancelled", "lost")  # how they end
_SAID = {SucceedRun: "succeeded", FailRun: "failed", InterruptRun: "interrupted"}


class Tally:
    """Counts and tells.

    Args:
        metrics: of the process.
        job_types: those that may stand in a label; any other is `unknown`.
    """

    def __init__(self, metrics: Metrics, *, job_types: Collection[str]) -> None:
        self._metrics = metrics
        self._job_types = frozenset(job_types)
        # Finding a series by its labels takes longer than counting in it; there are few.
        self._attempts = cache(metrics.attempts_total.labels)
        self._finished = cache(metrics.runs_finished_total.labels)
        self._duration = cache(metrics.run_duration_seconds.labels)
        # A rate sees what grows, not what begins: so that the first failure of a type shows, it begins at 0.
        for job_type in self._job_types:
            for outcome in ATTEMPTS:
                self._attempts(job_type, outcome)
            for status in ENDED:
                self._finished(job_type, status.value)
        for reason in get_args(HoldReason):
            metrics.starts_held_total.labels(reason)
        self._log = logs.get("daybook.executor").bind()

    def started(self, run: Run, at: datetime) -> None:
        """A handler is about to be called; `at` is Redis's time."""
        delay_s = (at - run.wanted_at).total_seconds()
        if run.attempt == 1:
            self._metrics.start_delay_seconds.observe(max(0.0, delay_s))
        self._log.info("attempt started", job_type=run.spec.job_type, delay_s=delay_s)

    def ended(self, run: Run, command: SucceedRun | FailRun | InterruptRun, took_s: float) -> None:
        """An attempt was recorded; `run` is as that left it."""
        outcome = "cancelled" if run.status is Status.CANCELLED else _SAID[type(command)]
        job_type = self._label(run)
        self._attempts(job_type, outcome).inc()
        if run.ended:
            self._finished(job_type, run.status.value).inc()
            self._duration(job_type).observe(took_s)
        error = command.error if isinstance(command, FailRun) else None
        said = {} if error is None else {"error": f"{error.class_}: {error.message[:300]}"}
        self._log.info(f"attempt {outcome}", status=run.status.value, took_s=round(took_s, 4), **said)

    def held(self, decided: Decided, reason: HoldReason) -> None:
        """A run was to start, and waits for a limit."""
        self._metrics.starts_held_total.labels(reason).inc()
        story.tell(self._log, decided.changes, actor="executor")

    def not_started(self, run: Run) -> None:
        """The run was claimed after its start deadline, or when it was to end."""
        self._finished(self._label(run), run.status.value).inc()
        level = WARNING if run.status is Status.EXPIRED else INFO
        self._log.log(level, f"run {run.status} before it could start", job_id=run.job_id, run_id=run.id)

    def moved(self, run: Run) -> None:
        """The run was taken away while its handler ran; nothing is reported."""
        self._metrics.leases_lost_total.inc()
        self._attempts(self._label(run), "lost").inc()
        self._log.warning("run was given to another worker, its handler was stopped")

    def refused(self, run: Run, *, current: str | None) -> None:
        """The result came too late: the run had been taken away."""
        self._metrics.results_refused_total.inc()
        self._attempts(self._label(run), "lost").inc()
        self._log.warning("result refused, the run was given to another worker", status=current)

    def _label(self, run: Run) -> str:
        return run.spec.job_type if run.spec.job_type in self._job_types else "unknown"
