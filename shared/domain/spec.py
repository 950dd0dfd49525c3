"""What a user wrote down: the specification of a job, and the part of it that a run is pinned to."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, Self

from msgspec import field
from msgspec.structs import replace

from shared.domain.retry import RetryPolicy
from shared.domain.schedule import Schedule
from shared.domain.value import Value, told

MisfirePolicy = Literal["latest", "skip", "all"]
CatchUp = MisfirePolicy  # what becomes of what fell due in a pause: the same words
OverlapPolicy = Literal["skip", "queue_one", "queue_all", "replace", "allow"]
LOST_MAX = 3
LIMIT_MAX = 10_000  # runs of a concurrency key at once
CATCH_UP_MAX = (
    1_000  # late occurrences in a row that misfire `all` runs, and those of a pause that a resume does
)


class Chain(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What follows on a job's runs.

    Attributes:
        on_success: ids of jobs to trigger when a run has succeeded.
        on_failure: ids of jobs to trigger when a run has failed for good, or nobody started it in time.
        mail_on_failure: addresses to tell likewise.
    """

    on_success: tuple[str, ...] = ()
    on_failure: tuple[str, ...] = ()
    mail_on_failure: tuple[str, ...] = ()

    @property
    def followers(self) -> tuple[str, ...]:
        """All jobs that may follow, each once."""
        return tuple(dict.fromkeys(self.on_success + self.on_failure))


class JobSpec(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Everything a client may set; API.md has the bounds. Durations in seconds, priority 1…10 (10 first).

    Attributes:
        pause_after_failures: so many runs that failed in a row pause the job; None: it goes on.
        chain: what follows on its runs; None: nothing.
        concurrency_key: jobs of the tenant that share it have at most `concurrency_limit` runs at work; None: no limit.
    """

    name: str
    description: str = ""
    tags: tuple[str, ...] = ()
    job_type: str
    job_data: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule = told(Schedule())
    timeout_seconds: int = told(3600)
    retry: RetryPolicy = told(RetryPolicy())
    priority: int = told(5)
    queue: str = told("default")
    misfire_policy: MisfirePolicy = told("latest")
    misfire_grace_seconds: int = told(60)
    overlap_policy: OverlapPolicy = told("skip")
    start_deadline_seconds: int | None = None
    max_lost: int = told(LOST_MAX)
    pause_after_failures: int | None = None
    chain: Chain | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None

    def pinned(self, job_id: str) -> Self:
        """As it is kept for a job: what is drawn once for each job, is drawn."""
        schedule = self.schedule.expanded(job_id)
        return self if schedule is self.schedule else replace(self, schedule=schedule)


class Concurrency(Value, frozen=True, kw_only=True):
    """A limit that jobs share, whatever their partition: a run starts while fewer than `limit` of its key are at work.

    Attributes:
        key: as clients call it.
        limit: of the run's own job; where jobs of one key differ in it, each start goes by its own.
        pool: names the key and its tenant in Redis: 32 hexadecimal digits.
    """

    key: str
    limit: int
    pool: str


class RunSpec(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What an executor needs, as the job said it when the run was requested: later edits don't reach it.

    Attributes:
        start_deadline_seconds: a run that hasn't started so long after its time expires; None = it waits for ever.
        max_lost: a run that has lost so many workers is poison: it is failed, not handed to another.
        timezone: IANA name of the job's zone: what a day or a month is, to its handler.
        chain: what follows on its end; None: nothing.
        concurrency: the limit that it shares with others; None: it has none.
    """

    job_name: str
    job_type: str
    job_data: dict[str, Any]
    timeout_seconds: int
    retry: RetryPolicy
    priority: int
    queue: str
    start_deadline_seconds: int | None = None
    max_lost: int = told(LOST_MAX)
    timezone: str = told("UTC")
    chain: Chain | None = None
    concurrency: Concurrency | None = None


def run_spec(
    job: JobSpec, *, tenant: str, job_data: dict[str, Any] | None = None, priority: int | None = None
) -> RunSpec:
    """The run's part of a job's specification; a trigger may bring its own data (already merged) and priority."""
    return RunSpec(
        job_name=job.name,
        job_type=job.job_type,
        job_data=job.job_data if job_data is None else job_data,
        timeout_seconds=job.timeout_seconds,
        retry=job.retry,
        priority=job.priority if priority is None else priority,
        queue=job.queue,
        start_deadline_seconds=job.start_deadline_seconds,
        max_lost=job.max_lost,
        timezone=job.schedule.timezone,
        chain=job.chain,
        concurrency=_concurrency(job, tenant),
    )


def _concurrency(job: JobSpec, tenant: str) -> Concurrency | None:
    if job.concurrency_key is None:
        return None
    # NUL stands in neither: no two pairs of tenant and key make the same text.
    pool = hashlib.sha256(f"{tenant}\0{job.concurrency_key}".encode()).hexdigest()[:32]
    return Concurrency(key=job.concurrency_key, limit=job.concurrency_limit or 1, pool=pool)
