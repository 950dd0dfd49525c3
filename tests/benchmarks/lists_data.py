"""What `make bench-lists` loads by COPY: jobs and runs as a few tenants may have them, from a seed."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.domain import ids
from shared.eventlog.envelope import json_text
from shared.testing import a_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTITIONS = 4
TENANTS = {"acme": 0.60, "umbra": 0.30, "late": 0.09, "tiny": 0.01}
DAYS = 60  # of runs, the newest now
LATE_DAYS = 5  # of the tenant that came last
TYPES = {"custom": 0.56, "report_generation": 0.28, "cleanup_task": 0.155, "export.monthly": 0.005}
QUEUES = {"default": 0.84, "slow": 0.155, "gpu": 0.005}
JOB_STATUSES = {
    "pending": 0.83,
    "paused": 0.05,
    "running": 0.01,
    "failed": 0.02,
    "completed": 0.07,
    "deleted": 0.02,
}
RUN_STATUSES = {"succeeded": 0.92, "failed": 0.05, "cancelled": 0.02, "expired": 0.01}
TRIGGERS = {"schedule": 0.94, "manual": 0.045, "retry": 0.012, "backfill": 0.003}
CLASSES = (
    "TimeoutError",
    "ConnectionError",
    "ValueError",
    "app.Refused",
    "KeyError",
    "OSError",
    "app.RareOne",
)
_MS = timedelta(milliseconds=1)
_RUN_COLUMNS = (
    "id", "id_at", "partition", "job_id", "job_name", "job_type", "status", "trigger", "of", "revision", "queue",
    "priority", "attempt", "max_attempts", "scheduled_for", "fires_at", "queued_at", "started_at", "finished_at",
    "duration_ms", "lateness_ms", "result", "error", "worker", "correlation_id", "attempts", "epoch", "pos", "cancel",
    "error_fingerprint", "tenant",
)  # fmt: skip
_JOB_COLUMNS = (
    "id", "partition", "owner", "tenant", "name", "description", "tags", "job_type", "queue", "priority", "spec",
    "revision", "status", "state", "active_runs", "next_run_time", "last_run_id", "last_run_status",
    "last_run_finished_at", "paused", "created_at", "updated_at", "epoch", "pos",
)  # fmt: skip


class Made(NamedTuple):
    """A job, as far as its runs ask."""

    id: str
    tenant: str
    job_type: str
    queue: str
    name: str
    since: datetime


class Data:
    """The rows.

    Args:
        jobs: how many.
        runs: how many.
        seed: of all that is drawn.
        long: the share of runs that take hours.
    """

    def __init__(self, *, jobs: int, runs: int, seed: int = 1, long: float = 0.004) -> None:
        self._jobs, self._runs, self._long = jobs, runs, long
        self._chance = random.Random(seed)
        self.now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - months of the database are made for now
        self._words = [f"w{n:04d}" for n in range(3_000)]
        self._spec = json.loads(json_text(a_spec()))
        self.made: list[Made] = []

    @staticmethod
    def columns(table: str) -> tuple[str, ...]:
        """Of `jobs` or `runs`, in the order of the rows."""
        return _JOB_COLUMNS if table == "jobs" else _RUN_COLUMNS

    def jobs(self) -> Iterator[tuple[Any, ...]]:
        """Rows of ledger.jobs, oldest first."""
        chance = self._chance
        for number in range(self._jobs):
            tenant = self._one_of(TENANTS)
            days = LATE_DAYS if tenant == "late" else 2 * DAYS
            since = self.now - timedelta(days=days) * (1 - number / self._jobs) - timedelta(seconds=5)
            job_id = ids.chance_id(since, number % PARTITIONS, chance.getrandbits(62))
            status = self._one_of(JOB_STATUSES)
            name = f"{self._word()} {self._word()} {number}"
            job_type, queue = self._one_of(TYPES), self._one_of(QUEUES)
            description = " ".join(self._word() for _ in range(chance.randrange(4, 24)))
            tags = [f"tag{min(int(chance.paretovariate(0.7)), 400)}" for _ in range(chance.randrange(4))]
            told = self._spec | {
                "name": name, "description": description, "tags": tags, "job_type": job_type, "queue": queue,
            }  # fmt: skip
            edited = since + (self.now - since) * (chance.random() ** 3)
            due = self.now + timedelta(seconds=chance.randrange(7 * 86_400))
            self.made.append(Made(job_id, tenant, job_type, queue, name, since))
            yield (
                job_id, number % PARTITIONS, f"owner{min(int(chance.paretovariate(0.6)), 300)}", tenant, name,
                description, tags, job_type, queue, 5, json.dumps(told), 1, status,
                "pending" if status in {"running", "failed"} else status, int(status == "running"),
                due if status in {"pending", "running"} else None, None, None, None, None, since,
                edited.replace(microsecond=0), 1, number,
            )  # fmt: skip

    def runs(self) -> Iterator[tuple[Any, ...]]:
        """Rows of ledger.runs, oldest first; a few jobs have most of them."""
        chance = self._chance
        count = len(self.made)
        for number in range(self._runs):
            at = self.now - timedelta(days=DAYS) * (1 - number / self._runs)
            job = self.made[int(count * chance.random() ** 2.5)]
            if job.since > at:  # it isn't there yet
                job = self.made[int(count * 0.4 * chance.random())]
                if job.tenant == "late" and job.since > at:
                    job = self.made[0] if self.made[0].tenant != "late" else self.made[1]
            yield self._run(number, at - at.microsecond % 1000 * timedelta(microseconds=1), job)

    def _run(self, number: int, at: datetime, job: Made) -> tuple[Any, ...]:
        chance = self._chance
        partition = ids.partition_of(job.id)
        run_id = ids.chance_id(at, partition, chance.getrandbits(62))
        trigger = self._one_of(TRIGGERS)
        scheduled = at - timedelta(hours=chance.randrange(2, 80)) if trigger == "backfill" else at
        queued = at + chance.randrange(50) * _MS
        started = queued + chance.randrange(20, 5_000) * _MS
        long = chance.random() < self._long
        finished = (
            started + (chance.randrange(4_000_000, 60_000_000) if long else chance.randrange(5, 90_000)) * _MS
        )
        status = self._one_of(RUN_STATUSES)
        if finished > self.now:
            status = "running" if started < self.now else "queued"
        ended = status not in {"running", "queued"}
        has_begun = status not in {"queued", "expired"}
        failure = None
        if status == "failed":
            failure = CLASSES[min(int(chance.paretovariate(1.2)) - 1, 6)]
        attempts = [
            {"attempt": 1, "worker": "w1", "started_at": at.isoformat(), "finished_at": None, "outcome": None,
             "error": None}
        ]  # fmt: skip
        return (
            run_id, ids.time_of(run_id), partition, job.id, job.name, job.job_type, status, trigger, None, 1,
            job.queue, 5, 1, 4, scheduled, scheduled, queued, started if has_begun else None,
            finished if ended else None, (finished - started) // _MS if ended else None, 20,
            '{"rows": 7}' if status == "succeeded" else None,
            None if failure is None else json.dumps({"class": failure, "message": "it went wrong"}),
            "w1" if has_begun else None, "c", json.dumps(attempts), 1, number, None,
            None if failure is None else f"{chance.randrange(40):012x}", job.tenant,
        )  # fmt: skip

    def _word(self) -> str:
        return self._words[min(int(self._chance.paretovariate(0.5)) - 1, len(self._words) - 1)]

    def _one_of(self, weights: dict[str, float]) -> str:
        drawn = self._chance.random()
        for name, weight in weights.items():
            drawn -= weight
            if drawn < 0:
                return name
        return next(iter(weights))
