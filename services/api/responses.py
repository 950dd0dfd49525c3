"""The bodies clients get. The models are the contract (API.md) and the source of /openapi.json."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from shared.domain.events import Which  # noqa: TC001 - likewise
from shared.domain.preview import EXCLUDED_SHOWN, DropReason
from shared.domain.roles import Role  # noqa: TC001 - pydantic reads these annotations
from shared.domain.walk import ClockRule  # noqa: TC001
from shared.eventlog.envelope import rfc3339

Time = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
JobStatus = Literal["pending", "running", "failed", "paused", "completed"]
RunStatus = Literal["held", "queued", "running", "retrying", "succeeded", "failed", "cancelled", "expired"]
BackfillStatus = Literal["running", "completed", "cancelled"]
RunTrigger = Literal["schedule", "manual", "backfill", "retry", "chain"]


class Answer(BaseModel):
    """What all answers have in common."""

    model_config = ConfigDict(frozen=True)


class BackoffView(Answer):
    """How long a run waits between its attempts."""

    initial_seconds: float
    multiplier: float
    max_seconds: float
    jitter: float


class LastRunView(Answer):
    """The run of a job that ended last."""

    id: str
    status: str
    finished_at: Time


class PausedView(Answer):
    """Who paused a job, when and why.

    `until`: it goes on by itself then. `catch_up`: what its end makes of what fell due meanwhile. `switch`: what has
    paused it together with others, `tag:<tag>` or `all`; null: it was paused singly.
    """

    by: str
    at: Time
    reason: str
    until: Time | None
    catch_up: str = "skip"
    switch: str | None = None


class ErasureView(Answer):
    """Who had the personal data of a job erased, when and why; the first time, if it was asked for again."""

    job_id: str
    by: str
    at: Time
    reason: str


class OccurrenceView(Answer):
    """An occurrence that is to come."""

    scheduled_for: Time
    local_time: str = Field(description="what the clock on the wall reads then, with its offset from UTC")
    fires_at: Time = Field(description="when it is started")
    rule: ClockRule | None = Field(
        description=(
            "what dst_policy did: gap_next_valid: the clock leaves its time of day out, and this is the next there is; "
            "overlap_first, overlap_last: the clock shows its time of day twice, and this is the one that counts"
        )
    )


class DroppedView(Answer):
    """What would have been an occurrence."""

    at: Time = Field(description="when; of a time of day that there is not, when the clock is put forward")
    local_time: str = Field(
        description="as of an occurrence; without offset where there is no such time of day"
    )
    reason: DropReason = Field(
        description=(
            "gap_skip: the clock leaves it out, as it may others in the same gap; "
            "overlap_first, overlap_last: the clock shows it twice, and the other one counts; "
            f"exclude: its date is excluded, of which the first {EXCLUDED_SHOWN} in a row are told; "
            "calendar: a calendar excludes it as it stands now; skipped: by hand"
        )
    )
    by: str | None = Field(description="whoever wants it skipped, or the name of the calendar")


class PreviewView(Answer):
    """What a schedule comes to, in the order of time."""

    cron_expression: str | list[str] | None = Field(description="with what H stands for")
    timezone: str
    occurrences: list[OccurrenceView] = Field(description="fewer than asked for if there are no more")
    dropped: list[DroppedView] = Field(description="what rules left out between these")


class NextView(Answer):
    """What is to come of a job, if each of its occurrences is run; of a paused one, if it was resumed now."""

    job_id: str
    timezone: str
    paused: PausedView | None
    occurrences: list[OccurrenceView] = Field(description="fewer than asked for if there are no more")
    dropped: list[DroppedView] = Field(description="what rules left out between these")


class BucketView(Answer):
    """What is to run in one bucket of a forecast."""

    since: Time = Field(serialization_alias="from")
    occurrences: int
    work_seconds: float = Field(description="how long runs of these take, if they take as long as before")
    concurrency: float = Field(
        description="how many of them run at a time: the seconds of work in each second"
    )


class ForecastView(Answer):
    """What is to run, of all jobs that aren't paused, if each occurrence is run."""

    since: Time = Field(serialization_alias="from")
    until: Time = Field(serialization_alias="to")
    bucket_seconds: int
    jobs: int = Field(description="that have an occurrence before `to`, or are overdue")
    durations: Literal["job", "job_type"] = Field(
        description=(
            "how long a run takes: the mean of its job's last 5, or of the last 100 of its job's type if the job has "
            "none, or there are so many jobs that this is told of all"
        )
    )
    unmeasured_jobs: int = Field(
        description="no run of these or of their types has ended: they count as no work"
    )
    buckets: list[BucketView] = Field(description="in the order of time; the last ends at `to`")


class SkipView(Answer):
    """An occurrence that somebody wants skipped: who, when and why."""

    scheduled_for: Time
    by: str
    at: Time
    reason: str


class MissedView(Answer):
    """An occurrence that nobody has decided: `missing_since` it should have fired, later than scheduled with jitter."""

    job_id: str
    job_name: str
    scheduled_for: Time
    missing_since: Time


class RangeView(Answer):
    """Consecutive dates, both included."""

    from_: str = Field(alias="from")
    to: str


class _Named(Answer):
    """What has an id; the first field of what is made of it."""

    id: str


class DstView(Answer):
    """What a job does where clocks change."""

    gap: str
    overlap: str


class JobSpecView(Answer):
    """What a client has set of a job, as POST and PUT take it."""

    name: str
    description: str
    tags: list[str]
    job_type: str
    job_data: dict[str, Any]
    cron_expression: str | list[str] | None
    interval_seconds: int | None
    run_at: Time | None
    start_at: Time | None
    end_at: Time | None
    max_runs: int | None
    jitter_seconds: int
    exclude: list[str | RangeView]
    exclude_calendars: list[str]
    timezone: str
    dst_policy: DstView
    timeout_seconds: int
    max_retries: int
    retry_backoff: BackoffView
    retry_on: list[str]
    give_up_on: list[str]
    priority: int
    queue: str
    misfire_policy: str
    misfire_grace_seconds: int
    overlap_policy: str
    start_deadline_seconds: int | None
    max_lost: int
    pause_after_failures: int | None
    on_success: list[str]
    on_failure: list[str]
    notify_on_failure: list[str]
    concurrency_key: str | None
    concurrency_limit: int | None


class JobView(JobSpecView, _Named):
    """A job."""

    owner: str
    tenant: str
    status: JobStatus
    revision: int
    next_run_time: Time | None
    last_run: LastRunView | None
    created_at: Time
    updated_at: Time
    paused: PausedView | None
    skipped: list[SkipView]


class CalendarView(Answer):
    """A calendar; `timezone` is null where its days are those of each job's zone."""

    name: str
    tenant: str
    description: str
    dates: list[str | RangeView]
    weekdays: list[str]
    timezone: str | None
    revision: int
    created_at: Time
    updated_at: Time
    updated_by: str


class RevisionView(Answer):
    """One edit of a job: its creation is the first. `type` is the event's."""

    revision: int
    at: Time
    by: str
    type: str


class RevisionJobView(RevisionView):
    """A job as this edit has left it."""

    job: JobSpecView


class DifferenceView(Answer):
    """What differs at a JSON pointer; where there is nothing on a side, that is left out."""

    pointer: str
    from_: Any = Field(default=None, alias="from")
    to: Any = None


class DiffView(Answer):
    """What differs between two revisions of a job; lists are compared as a whole."""

    from_: int = Field(alias="from")
    to: int
    changes: list[DifferenceView]


class ErrorView(Answer):
    """What went wrong in a handler."""

    class_: str = Field(alias="class")
    message: str


class ProgressView(Answer):
    """How far a running handler says it is."""

    ratio: float
    message: str


class CancelView(Answer):
    """Who wanted an execution ended, when and why."""

    by: str
    at: Time
    reason: str


class HeldView(Answer):
    """The limit that an execution waits for; it asks again `until` then, if not before.

    `key` is the concurrency key (reason `concurrency`) or the job type (`rate`).
    """

    reason: str
    key: str
    until: Time


class AttemptView(Answer):
    """One start of a run's handler."""

    attempt: int
    worker: str
    started_at: str
    finished_at: str | None
    outcome: str | None
    error: ErrorView | None


class OutputView(Answer):
    """What an attempt of an execution has logged.

    `attempt` is null, and `text` empty, if none has logged anything; `attempts` lists those that have.
    """

    attempt: int | None
    text: str
    dropped_bytes: int
    at: Time | None
    attempts: list[int]


class RetriedView(Answer):
    """An execution done again; `id` is null where nothing was to be written."""

    of: str
    id: str | None


class RefusedView(Answer):
    """An execution that could not be done again, and why."""

    of: str
    detail: str


class RedriveView(Answer):
    """What came of a redrive.

    `matched` counts what fits the filter, had not been retried yet and is of a job that is still there, exactly up to
    10,000; `more` says whether some of that was not looked at.
    """

    matched: int
    total_is_capped: bool
    retried: list[RetriedView]
    refused: list[RefusedView]
    more: bool
    dry_run: bool


class BackfillView(Answer):
    """Occurrences of a job that have gone by, being run.

    `total` were found when it was requested, oldest first; `requested` of them it has asked for an execution for. Of
    these `running` haven't ended, and `failed` have ended otherwise than `succeeded`. One that was `cancelled` asks for
    no more; those it has asked for go on, and are counted.
    """

    id: str
    job_id: str
    status: BackfillStatus
    which: Which
    from_: Time = Field(alias="from")
    to: Time
    total: int
    requested: int
    running: int
    succeeded: int
    failed: int
    max_parallel: int
    revision: int = Field(description="of the job, that its executions are pinned to")
    by: str
    reason: str
    created_at: Time
    finished_at: Time | None
    cancel: CancelView | None


class BackfillDryRunView(Answer):
    """What a backfill would run; `times` are the first hundred."""

    job_id: str
    which: Which
    from_: Time = Field(alias="from")
    to: Time
    total: int
    first: Time | None
    last: Time | None
    times: list[Time]
    dry_run: Literal[True] = True


class SwitchView(Answer):
    """What came of pausing or resuming jobs together.

    `changed` counts those that were, `unchanged` those that were so already, were paused by something else, or are
    gone. `next_cursor`: not all were come to; the same request with it as `cursor` goes on.
    """

    switch: str
    changed: int
    unchanged: int
    next_cursor: str | None
    dry_run: bool


class ErrorGroupView(Answer):
    """Failed executions that failed alike; `sample` is the newest one's message, `retried` of them were run again."""

    error_class: str
    fingerprint: str | None
    count: int
    retried: int
    jobs: int
    first_at: Time
    last_at: Time
    sample: str
    last_execution_id: str


class ErrorsView(Answer):
    """Groups of failed executions, the largest first."""

    items: list[ErrorGroupView]


class PrincipalView(Answer):
    """How much somebody asks and changes; `changes` are events, `requests` are of whole hours."""

    principal: str
    requests: int
    changes: int
    last_change_at: Time | None


class PrincipalsView(Answer):
    """Principals of a span of time, those that changed most first; `more` if others were left out."""

    since: Time = Field(serialization_alias="from")
    until: Time = Field(serialization_alias="to")
    items: list[PrincipalView]
    more: bool


class RevocationView(Answer):
    """Who took a key back, and when."""

    by: str
    at: Time


class ApiKeyView(Answer):
    """An API key, without the key: `prefix` is its beginning, `last_used_at` true to the minute."""

    id: str
    name: str
    prefix: str
    role: Role
    tenant: str
    owner: str
    issued_by: str
    issued_at: Time
    expires_at: Time | None
    revoked: RevocationView | None
    last_used_at: Time | None


class ApiKeyMadeView(ApiKeyView):
    """An API key just made. `key` is shown this once."""

    key: str


class TokenView(Answer):
    """A token to be sent as `Authorization: Bearer`."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - RFC 6749's word
    expires_in: int = Field(description="seconds")


class JobTypeView(Answer):
    """A type of job: the data it takes, what its runs return, and what becomes of failures."""

    name: str
    description: str
    source: str = Field(description="the distribution it comes from")
    schema_: dict[str, Any] = Field(serialization_alias="schema", description="JSON Schema of job_data")
    result: dict[str, Any] | None = Field(description="JSON Schema of what a run returns; null: it varies")
    extra: str | None = Field(
        description="it needs `pip install daybook[extra]`; null: it needs nothing more"
    )
    available: bool = Field(description="whether jobs of this type are taken here")
    why_not: str | None = Field(
        description="what it needs, as the end of a sentence; null if it is available"
    )
    retried: str = Field(description="which failures are followed by another attempt")
    given_up: str = Field(description="which are not")


class JobTypesView(Answer):
    """All types that jobs can be of here, by name."""

    items: list[JobTypeView]


class ExecutionView(Answer):
    """A run of a job."""

    id: str
    job_id: str
    job_name: str
    job_type: str
    status: RunStatus
    trigger: RunTrigger
    of: str | None
    backfill: str | None
    revision: int
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    scheduled_for: Time
    fires_at: Time
    queued_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    duration_seconds: float | None
    lateness_seconds: float | None
    result: Any
    error: ErrorView | None
    worker: str | None
    progress: ProgressView | None
    cancel: CancelView | None
    held: HeldView | None
    correlation_id: str
    attempts: list[AttemptView]
