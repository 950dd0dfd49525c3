"""The bodies clients may send. A model refuses what it doesn't know; what comes later is refused by name."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from services.api.json_body import pointer
from services.api.problems import Fault, invalid
from shared.domain import calendar, calendars, cron, exclude, ids, jitter, schedule, walk
from shared.domain.backfill import PARALLEL_MAX
from shared.domain.events import Which  # noqa: TC001 - pydantic reads these annotations
from shared.domain.overlaps import WAITING_MAX
from shared.domain.roles import SUBJECT, Role
from shared.domain.spec import (
    CATCH_UP_MAX,
    LIMIT_MAX,
    LOST_MAX,
    CatchUp,
    MisfirePolicy,
    OverlapPolicy,
)
from shared.domain.weekdays import Weekday  # noqa: TC001 - pydantic reads these annotations
from shared.job_types.mailboxes import Address  # noqa: TC001 - pydantic reads the annotation

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

JOB_DATA_MAX = 64 * 1024  # bytes of compact JSON
EXPRESSIONS_MAX = 20
PREVIEWED_MAX = 1_000
FOLLOWERS_MAX = 20
NOT_YET = "is not available yet"
WORD = r"^[\w.:/-]{1,200}$"
FINGERPRINT = r"^[0-9a-f]{12}$"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
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
        "skipped",
    }
)
Model = TypeVar("Model", bound="Body")


def cron_of(value: object) -> str | list[str] | None:
    """An expression, a list of them, or None, as far as their forms go.

    Raises:
        PydanticCustomError: it is none of these: one sentence, where a union would tell what is wrong with each member.
    """
    several = value if isinstance(value, list) else [value]
    if value is None or (
        1 <= len(several) <= EXPRESSIONS_MAX
        and all(isinstance(each, str) and 1 <= len(each) <= cron.LENGTH_MAX for each in several)
    ):
        return cast("str | list[str] | None", value)
    raise PydanticCustomError(
        "cron",
        "an expression is a text of 1 to {most} characters; several are a list of at most {many}",
        {"most": cron.LENGTH_MAX, "many": EXPRESSIONS_MAX},
    )


def time_of(text: object) -> datetime | None:
    """The aware time that `text` is; None for None.

    Raises:
        PydanticCustomError: it is none, or none that has a UTC time.
    """
    if text is None:
        return None
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        raise PydanticCustomError("time", "write a time with its offset, such as 2026-03-29T02:30:00+01:00")
    try:
        at = datetime.fromisoformat(text.upper())
        at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PydanticCustomError("time", "is no time: {why}", {"why": str(error)}) from None
    return at


def required_time_of(text: object) -> datetime:
    """As `time_of`, in UTC and whole milliseconds; None is none."""
    at = time_of("" if text is None else text)
    assert at is not None  # noqa: S101 - only None is None
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def date_of(text: object) -> date:
    """The date that `text` is.

    Raises:
        PydanticCustomError: it is none.
    """
    if isinstance(text, str) and _DATE.fullmatch(text):
        with suppress(ValueError):
            return date.fromisoformat(text)
    raise PydanticCustomError("date", "write a date, such as 2026-12-25")


def range_of(value: object) -> object:
    """A date as the range of one day; what may be an object of a Range, as it is.

    Raises:
        PydanticCustomError: it is neither.
    """
    if isinstance(value, dict):
        return value
    day = date_of(value).isoformat()
    return {"from": day, "to": day}


def small(data: dict[str, Any]) -> dict[str, Any]:
    """`data`, if it is at most JOB_DATA_MAX bytes.

    Raises:
        PydanticCustomError: it isn't.
    """
    size = len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
    if size > JOB_DATA_MAX:
        raise PydanticCustomError(
            "size", "has {size} bytes; {max} is the limit", {"size": size, "max": JOB_DATA_MAX}
        )
    return data


def _id(text: str) -> str:
    try:
        return ids.parse(text)
    except ids.BadId as error:
        raise PydanticCustomError("id", "{why}", {"why": str(error)}) from None


def _each_once(several: list[str]) -> list[str]:
    if len(set(several)) < len(several):
        raise PydanticCustomError("twice", "names one of them twice")
    return several


Id = Annotated[str, AfterValidator(_id)]
Word = Annotated[str, Field(pattern=WORD)]
Fingerprint = Annotated[str, Field(pattern=FINGERPRINT)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Tag = Annotated[str, Field(min_length=1, max_length=50)]
Priority = Annotated[int, Field(ge=1, le=10)]
Queue = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
ErrorName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,199}$")]
CalendarName = Annotated[str, Field(pattern=f"^{calendar.NAME}$")]
ConcurrencyKey = Annotated[str, Field(min_length=1, max_length=200)]
JobData = Annotated[dict[str, Any], AfterValidator(small)]
_Expression = Annotated[str, Field(min_length=1, max_length=cron.LENGTH_MAX)]
_Expressions = Annotated[list[_Expression], Field(min_length=1, max_length=EXPRESSIONS_MAX)]
Cron = Annotated[
    str | list[str] | None,
    BeforeValidator(cron_of),
    WithJsonSchema(TypeAdapter(_Expression | _Expressions | None).json_schema()),
]
Moment = Annotated[
    datetime | None,
    BeforeValidator(time_of),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
]
RequiredMoment = Annotated[
    datetime, BeforeValidator(required_time_of), WithJsonSchema({"type": "string", "format": "date-time"})
]
ExactMoment = Annotated[  # to be rounded by whoever knows which way
    datetime, BeforeValidator(time_of), WithJsonSchema({"type": "string", "format": "date-time"})
]
Date = Annotated[date, BeforeValidator(date_of), WithJsonSchema({"type": "string", "format": "date"})]


Followers = Annotated[list[Id], Field(max_length=FOLLOWERS_MAX), AfterValidator(_each_once)]


class Body(BaseModel):
    """What all bodies have in common: no unknown field, no value bent into shape."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    LATER: ClassVar[frozenset[str]] = frozenset()
    READ_ONLY: ClassVar[frozenset[str]] = frozenset()


class Backoff(Body):
    """How long to wait: `initial_seconds · multiplier^n`, at most `max_seconds`, ± `jitter`."""

    initial_seconds: float = Field(default=1.0, ge=0, le=86_400)
    multiplier: float = Field(default=2.0, ge=1, le=100)
    max_seconds: float = Field(default=300.0, ge=0, le=86_400)
    jitter: float = Field(default=0.1, ge=0, le=1, description="a fraction of the delay")


class Range(Body):
    """Consecutive dates, both included."""

    from_: Date = Field(alias="from")
    to: Date


Excluded = Annotated[
    Range,
    BeforeValidator(range_of),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date"}, Range.model_json_schema()]}),
]


class Dst(Body):
    """What to do where clocks are put forward (gap) or back (overlap).

    `auto`: an expression with numbers and lists for its time of day fires once, one with `*`, ranges or steps as
    often as the clock shows its times.
    """

    gap: walk.Gap = Field(default="auto", description="next_valid: at the end of the gap; skip: not at all")
    overlap: walk.Overlap = Field(default="auto", description="the first time, the last, or both")


class ScheduleBody(Body):
    """When a job runs: at most one of cron_expression, interval_seconds and run_at."""

    cron_expression: Cron = Field(
        default=None,
        description=(
            "5 fields, or 6 with seconds first; a list is the union of its expressions. "
            "H is replaced by a number that the job draws once"
        ),
    )
    interval_seconds: int | None = Field(default=None, ge=1, le=schedule.INTERVAL_MAX_S)
    run_at: Moment = Field(default=None, description="once, at this time")
    start_at: Moment = Field(default=None, description="no occurrence before it; an interval's first")
    end_at: Moment = Field(default=None, description="no occurrence after it")
    max_runs: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="no occurrence once so many have run, ever"
    )
    jitter_seconds: int = Field(
        default=0,
        ge=0,
        le=jitter.JITTER_MAX_S,
        description=(
            "an occurrence fires up to so much later, before the next one's time; the same for the same job and time"
        ),
    )
    exclude: list[Excluded] = Field(
        default_factory=list,
        max_length=exclude.SPANS_MAX,
        description="no occurrence on these dates, in the job's zone",
    )
    exclude_calendars: list[CalendarName] = Field(
        default_factory=list,
        max_length=calendars.NAMES_MAX,
        description="what these calendars exclude when its time has come is skipped",
    )
    timezone: str = Field(default="UTC", min_length=1, max_length=100, description="IANA name")
    dst_policy: Dst = Field(default=Dst(), description="of cron expressions, where clocks change")


class JobBody(ScheduleBody):
    """A job as a client writes it, in POST and PUT: what is left out takes its default."""

    READ_ONLY = _READ_ONLY

    name: Name
    description: str = Field(default="", max_length=2_000)
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    job_type: str = Field(
        min_length=1, max_length=200, description="see GET /job-types; fixed after creation"
    )
    job_data: JobData = Field(
        default_factory=dict,
        description="fits the type's model; at most 64 KB; what is x-personal in that is stored encrypted",
    )
    timeout_seconds: int = Field(default=3_600, ge=1, le=86_400)
    max_retries: int = Field(default=3, ge=0, le=100)
    retry_backoff: Backoff = Backoff()
    retry_on: list[ErrorName] = Field(default_factory=list, max_length=50)
    give_up_on: list[ErrorName] = Field(default_factory=list, max_length=50)
    priority: Priority = Field(default=5, description="10 first")
    queue: Queue = "default"
    misfire_policy: MisfirePolicy = Field(
        default="latest",
        description=(
            "of occurrences later than the grace: the newest runs; none; or all, the oldest first, "
            f"at most {CATCH_UP_MAX:,}"
        ),
    )
    misfire_grace_seconds: int = Field(default=60, ge=0, le=86_400)
    overlap_policy: OverlapPolicy = Field(
        default="skip",
        description=(
            "of a run beside an active one: it doesn't run; one waits; all wait, in order, at most "
            f"{WAITING_MAX:,}; it runs once the others are cancelled and have ended; or at once"
        ),
    )
    start_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="a run that hasn't started so long after its time expires",
    )
    max_lost: int = Field(
        default=LOST_MAX, ge=1, le=100, description="a run that loses so many workers fails"
    )
    pause_after_failures: int | None = Field(
        default=None,
        ge=1,
        le=1_000,
        description="so many runs that failed, none having succeeded since, pause the job; null: it goes on",
    )
    concurrency_key: ConcurrencyKey | None = Field(
        default=None,
        description="jobs that share it have at most concurrency_limit runs at work, all together",
    )
    concurrency_limit: int | None = Field(
        default=None,
        ge=1,
        le=LIMIT_MAX,
        description="1 with a concurrency_key; where jobs of one key differ, each start goes by its own job's",
    )

    on_success: Followers = Field(
        default_factory=list, description="ids of jobs to run when an execution has succeeded"
    )
    on_failure: Followers = Field(
        default_factory=list,
        description="ids of jobs to run when an execution has failed for good, or nobody started it in time",
    )
    notify_on_failure: Annotated[list[Address], Field(max_length=FOLLOWERS_MAX)] = Field(
        default_factory=list, description="mail addresses to tell then"
    )


class CalendarBody(Body):
    """Days on which the jobs that name a calendar don't run; what is left out takes its default."""

    description: str = Field(default="", max_length=2_000)
    dates: list[Excluded] = Field(default_factory=list, max_length=calendar.DATES_MAX)
    weekdays: list[Weekday] = Field(default_factory=list, max_length=6, description="excluded every week")
    timezone: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="IANA name of the zone that these days are of; each job's, if left out",
    )


class PreviewBody(ScheduleBody):
    """A schedule, and which of its occurrences are wanted."""

    from_: Moment = Field(
        default=None,
        alias="from",
        description="occurrences after this time, as of a job that is made then; now, if left out",
    )
    count: int = Field(default=10, ge=1, le=PREVIEWED_MAX, description="at most so many")
    job_id: Id | None = Field(
        default=None, description="H draws what it draws for this job; if left out, what it draws for none"
    )


class JobPatch(BaseModel):
    """Fields of a job, each as in JobBody or null for its default; objects are merged, member by member (RFC 7396)."""

    model_config = ConfigDict(
        json_schema_extra={
            "properties": {name: {"description": "as in JobBody, or null"} for name in JobBody.model_fields},
            "additionalProperties": False,
        }
    )


class PauseBody(Body):
    """Why a job is paused, and until when.

    Of a job that is paused already, what is left out stays as it is.
    """

    reason: str = Field(default="", max_length=500)
    until: Moment = Field(
        default=None,
        description="it goes on by itself then, within ten years; null: when somebody resumes it",
    )
    catch_up: CatchUp = Field(default="skip", description="what a resume that doesn't say is to catch up")


class SkipBody(Body):
    """Which occurrence is to be skipped, or not to be after all."""

    scheduled_for: RequiredMoment = Field(
        description="its time, as GET /jobs/{id}/next shows it, before jitter"
    )
    reason: str = Field(default="", max_length=200)


class UnskipBody(Body):
    """Which occurrence is not to be skipped after all."""

    scheduled_for: RequiredMoment


class ResumeBody(Body):
    """What becomes of the occurrences that fell due in the pause."""

    catch_up: CatchUp | None = Field(
        default=None,
        description=(
            "none of them runs; the newest does; or all, the oldest first, "
            f"at most {CATCH_UP_MAX:,}. What doesn't run is recorded. null: what the pause says"
        ),
    )


class PauseManyBody(PauseBody):
    """Why jobs are paused together, and until when."""

    dry_run: bool = Field(default=False, description="only say how many would be paused")


class ResumeManyBody(ResumeBody):
    """What becomes of the occurrences that fell due while jobs were paused together."""

    dry_run: bool = Field(default=False, description="only say how many would be resumed")


class RevertBody(Body):
    """Which revision a job is to be as again."""

    revision: int = Field(ge=1, le=1_000_000_000)


class EraseBody(Body):
    """Why a job's personal data is to be erased. It is recorded for ever: name nobody in it."""

    reason: str = Field(min_length=1, max_length=500)


class CancelBody(Body):
    """Why an execution is cancelled."""

    reason: str = Field(default="", max_length=500)


class TriggerBody(Body):
    """What this one run does differently from its job."""

    job_data: JobData | None = Field(default=None, description="merged over the job's, key by key")
    overlap_policy: OverlapPolicy | None = Field(default=None, description="instead of the job's")
    priority: Priority | None = None


class BackfillBody(Body):
    """Which occurrences of a job that have gone by are to run, and how."""

    from_: ExactMoment = Field(alias="from", description="at this time or later")
    to: Moment = Field(
        default=None, description="before this time; at most up to now, which it is if left out"
    )
    which: Which = Field(
        default="missing",
        description=(
            "missing: those that no run was asked for, whatever for; failed: those whose newest run failed, was "
            "cancelled or expired; all: every one, again"
        ),
    )
    dry_run: bool = Field(default=False, description="only say which those are")
    max_parallel: int = Field(
        default=1, ge=1, le=PARALLEL_MAX, description="so many of its executions may be unfinished at a time"
    )
    job_data: JobData | None = Field(default=None, description="merged over the job's, key by key")
    priority: Priority | None = None
    reason: str = Field(default="", max_length=500)


class RetryBody(TriggerBody):
    """What this one run does differently from the one it repeats."""

    job_data: JobData | None = Field(default=None, description="merged over the execution's, key by key")


class RedriveFilter(Body):
    """Which ended executions to run again: all that fit everything that is given."""

    status: Literal["failed", "cancelled", "expired"] = "failed"
    job_id: Id | None = None
    job_type: Word | None = None
    queue: Queue | None = None
    error_class: Word | None = None
    error_fingerprint: Fingerprint | None = Field(default=None, description="see GET /stats/errors")
    finished_after: Moment = Field(default=None, description="at this time or later")
    finished_before: Moment = Field(default=None, description="before this time")


class RedriveBody(Body):
    """Run again, oldest first, what ended badly and was not run again yet."""

    filter: RedriveFilter = RedriveFilter()
    dry_run: bool = Field(default=False, description="only say what would be run again")
    limit: int = Field(default=100, ge=1, le=1_000, description="run at most so many again")
    overlap_policy: OverlapPolicy | None = Field(default=None, description="instead of each job's")


class TokenBody(Body):
    """A token is asked for; there is nothing to say."""


class ApiKeyBody(Body):
    """A key to be given out, in one's own tenant."""

    name: Name = Field(description="what it is for")
    role: Role
    owner: Annotated[str, Field(pattern=f"^{SUBJECT}$")] | None = Field(
        default=None,
        description="whoever it acts for: events name them, and its jobs are theirs; you, if left out",
    )
    expires_at: Moment = Field(default=None, description="from then on it opens nothing; never, if left out")


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
