"""The bodies clients may send. A model refuses what it doesn't know; what comes later is refused by name."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from services.api.json_body import pointer
from services.api.problems import Fault, invalid
from shared import job_types
from shared.domain import schedule
from shared.domain.retry import RetryPolicy
from shared.domain.schedule import BadSchedule, Schedule
from shared.domain.spec import JobSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from shared.job_types import Known

JOB_DATA_MAX = 64 * 1024  # bytes of compact JSON
NOT_YET = "is not available yet"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_LATER = "not_yet"  # pydantic's type of such an error
_READ_ONLY = frozenset(
    {
        "id",
        "owner",
        "tenant",
        "status",
        "revision",
        "next_run_time",
        "last_run",
        "created_at",
        "updated_at",
        "paused",
    }
)
Model = TypeVar("Model", bound="Body")


def _not_yet(*values: str) -> BeforeValidator:
    """Refuse `values` as coming later, rather than as unknown."""

    def check(value: object) -> object:
        if value in values:
            raise PydanticCustomError(_LATER, "{value} is not available yet", {"value": str(value)})
        return value

    return BeforeValidator(check)


def _one(value: object) -> object:
    if isinstance(value, list):
        raise PydanticCustomError(_LATER, "a list of expressions is not available yet")
    return value


def _time(text: object) -> object:
    if text is None:
        return None
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        raise PydanticCustomError("time", "write a time with its offset, such as 2026-03-29T02:30:00+01:00")
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise PydanticCustomError("time", "is no time: {why}", {"why": str(error)}) from None


def _small(data: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
    if size > JOB_DATA_MAX:
        raise PydanticCustomError(
            "size", "has {size} bytes; {max} is the limit", {"size": size, "max": JOB_DATA_MAX}
        )
    return data


Name = Annotated[str, Field(min_length=1, max_length=200)]
Tag = Annotated[str, Field(min_length=1, max_length=50)]
Priority = Annotated[int, Field(ge=1, le=10)]
Queue = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
ErrorName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,199}$")]
JobData = Annotated[dict[str, Any], AfterValidator(_small)]
Cron = Annotated[str | None, BeforeValidator(_one), Field(min_length=1)]
Moment = Annotated[
    datetime | None,
    BeforeValidator(_time),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
]
Overlap = Annotated[Literal["skip", "allow"], _not_yet("queue_one", "queue_all", "replace")]
Misfire = Annotated[Literal["latest"], _not_yet("skip", "all")]


class Body(BaseModel):
    """What all bodies have in common: no unknown field, no value bent into shape."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    LATER: ClassVar[frozenset[str]] = frozenset()
    READ_ONLY: ClassVar[frozenset[str]] = frozenset()


class Backoff(Body):
    """How long to wait: `initial_seconds · multiplier^n`, at most `max_seconds`, ± `jitter`."""

    initial_seconds: float = Field(default=1, ge=0, le=86_400)
    multiplier: float = Field(default=2, ge=1, le=100)
    max_seconds: float = Field(default=300, ge=0, le=86_400)
    jitter: float = Field(default=0.1, ge=0, le=1, description="a fraction of the delay")


class JobBody(Body):
    """A job as a client writes it, in POST and PUT: what is left out takes its default."""

    LATER = frozenset(
        {
            "start_at", "end_at", "max_runs", "jitter_seconds", "dst_policy", "exclude", "exclude_calendars",
            "concurrency_key", "concurrency_limit", "on_success", "on_failure", "notify_on_failure",
            "pause_after_failures", "start_deadline_seconds",
        }
    )  # fmt: skip
    READ_ONLY = _READ_ONLY

    name: Name
    description: str = Field(default="", max_length=2_000)
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    job_type: str = Field(
        min_length=1, max_length=200, description="see GET /job-types; fixed after creation"
    )
    job_data: JobData = Field(default_factory=dict, description="fits the type's model; at most 64 KB")
    cron_expression: Cron = Field(default=None, description="5 fields, or 6 with seconds first")
    interval_seconds: int | None = Field(default=None, ge=1, le=schedule.INTERVAL_MAX_S)
    run_at: Moment = Field(default=None, description="once, at this time")
    timezone: str = Field(default="UTC", min_length=1, max_length=100, description="IANA name")
    timeout_seconds: int = Field(default=3_600, ge=1, le=86_400)
    max_retries: int = Field(default=3, ge=0, le=100)
    retry_backoff: Backoff = Backoff()
    retry_on: list[ErrorName] = Field(default_factory=list, max_length=50)
    give_up_on: list[ErrorName] = Field(default_factory=list, max_length=50)
    priority: Priority = Field(default=5, description="10 first")
    queue: Queue = "default"
    misfire_policy: Misfire = "latest"
    misfire_grace_seconds: int = Field(default=60, ge=0, le=86_400)
    overlap_policy: Overlap = "skip"


class PauseBody(Body):
    """Why a job is paused."""

    LATER = frozenset({"until"})

    reason: str = Field(default="", max_length=500)


class ResumeBody(Body):
    """Nothing yet."""

    LATER = frozenset({"catch_up"})


class TriggerBody(Body):
    """What this one run does differently from its job."""

    job_data: JobData | None = Field(default=None, description="merged over the job's, key by key")
    overlap_policy: Overlap | None = None
    priority: Priority | None = None


def read(model: type[Model], tree: Any) -> Model:
    """The body that `tree` is.

    Raises:
        Problem: 422, with everything that is wrong.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise invalid(*(_fault(model, each) for each in found[:20])) from None


def spec_of(body: JobBody, *, known: Known, files_roots: tuple[Path, ...]) -> JobSpec:
    """The specification that `body` is, its schedule and data checked.

    Raises:
        Problem: 422, with everything that is wrong.
    """
    faults: list[Fault] = []
    plan = Schedule(
        cron_expression=body.cron_expression,
        interval_seconds=body.interval_seconds,
        run_at=body.run_at,
        timezone=body.timezone,
    )
    try:
        schedule.check(plan)
    except BadSchedule as refusal:
        faults.append(Fault(pointer=pointer(refusal.field), detail=str(refusal)))
    data = _checked(body.job_type, body.job_data, known, files_roots, faults)
    if faults:
        raise invalid(*faults)
    return _spec(body, plan, data)


def merged_data(
    job_type: str,
    data: Mapping[str, Any],
    over: Mapping[str, Any],
    *,
    known: Known,
    files_roots: tuple[Path, ...],
) -> dict[str, Any]:
    """A trigger's `over` laid over the job's `data`, key by key, and checked.

    Raises:
        Problem: 422, with everything that is wrong.
    """
    faults: list[Fault] = []
    merged = _checked(job_type, {**data, **over}, known, files_roots, faults)
    try:
        _small(merged)
    except PydanticCustomError as error:
        faults.append(Fault(pointer="#/job_data", detail=f"merged over the job's, it {error.message()}"))
    if faults:
        raise invalid(*faults)
    return merged


def _checked(
    job_type: str, data: dict[str, Any], known: Known, files_roots: tuple[Path, ...], faults: list[Fault]
) -> dict[str, Any]:
    """`data` as it is to be kept; what is wrong with it goes into `faults`."""
    try:
        return job_types.check(job_type, data, known=known, files_roots=files_roots)
    except job_types.BadJobData as refusal:
        faults += [Fault(pointer=each.pointer, detail=each.detail) for each in refusal.faults]
        return data


def _spec(body: JobBody, plan: Schedule, data: dict[str, Any]) -> JobSpec:
    backoff = body.retry_backoff
    return JobSpec(
        name=body.name,
        description=body.description,
        tags=tuple(body.tags),
        job_type=body.job_type,
        job_data=data,
        schedule=Schedule(
            cron_expression=plan.cron_expression,
            interval_seconds=plan.interval_seconds,
            run_at=_utc_ms(plan.run_at),
            timezone=plan.timezone,
        ),
        timeout_seconds=body.timeout_seconds,
        retry=RetryPolicy(
            max_retries=body.max_retries,
            initial_seconds=backoff.initial_seconds,
            multiplier=backoff.multiplier,
            max_seconds=backoff.max_seconds,
            jitter=backoff.jitter,
            retry_on=tuple(body.retry_on),
            give_up_on=tuple(body.give_up_on),
        ),
        priority=body.priority,
        queue=body.queue,
        misfire_policy=body.misfire_policy,
        misfire_grace_seconds=body.misfire_grace_seconds,
        overlap_policy=body.overlap_policy,
    )


def _utc_ms(at: datetime | None) -> datetime | None:
    """As answers show it."""
    if at is None:
        return None
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _fault(model: type[Body], error: ErrorDetails) -> Fault:
    return Fault(pointer=pointer(*error["loc"]), detail=_sentence(model, error))


def _sentence(model: type[Body], error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden" if len(error["loc"]) == 1 and error["loc"][0] in model.LATER:
            return NOT_YET
        case "extra_forbidden" if len(error["loc"]) == 1 and error["loc"][0] in model.READ_ONLY:
            return "is read only; leave it out"
        case "extra_forbidden":
            return "is not a field here"
        case "model_type" | "dict_type":
            return "is not an object"
        case "string_pattern_mismatch":
            return f"doesn't match {error['ctx']['pattern']}"
        case _:
            return error["msg"][:1].lower() + error["msg"][1:]
