"""From bodies to specifications: schedule and data are checked on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from services.api.json_body import pointer
from services.api.personal import reserved
from services.api.problems import Fault, invalid
from services.api.requests import small
from shared import job_types
from shared.domain import schedule
from shared.domain.commands import CalendarContent
from shared.domain.exclude import BadSpan, Span, check_span
from shared.domain.retry import RetryPolicy
from shared.domain.schedule import BadSchedule, Schedule
from shared.domain.spec import Chain, JobSpec
from shared.domain.walk import DstPolicy
from shared.domain.weekdays import WEEKDAYS
from shared.domain.zones import UnknownZone, zone_named
from shared.job_types.email_notification import NO_SERVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.api.requests import CalendarBody, Dst, JobBody, Range, ScheduleBody
    from shared.job_types import Catalog, Known

FAULTS_MAX = 20


def spec_of(body: JobBody, *, known: Known, catalog: Catalog) -> JobSpec:
    """The specification that `body` is, its schedule and data checked.

    Raises:
        Problem: 422, with everything that is wrong.
    """
    faults: list[Fault] = []
    plan = _planned(body, catalog, faults)
    data = _checked(body.job_type, body.job_data, known, catalog, faults)
    if faults:
        raise invalid(*faults)
    return _spec(body, plan, data)


def spec_with(data: dict[str, Any], body: JobBody, *, catalog: Catalog) -> JobSpec:
    """The same, whose data is `data`, whatever stands in the body: nobody looks at that.

    Raises:
        Problem: 422, with everything that is wrong.
    """
    faults: list[Fault] = []
    plan = _planned(body, catalog, faults)
    if faults:
        raise invalid(*faults)
    return _spec(body, plan, data)


def _planned(body: JobBody, catalog: Catalog, faults: list[Fault]) -> Schedule:
    """The schedule; what is wrong with it, or with anything else but the data, goes into `faults`."""
    plan = schedule_of(body, faults)
    if body.notify_on_failure and not catalog.senders:
        faults.append(Fault(pointer="#/notify_on_failure", detail=NO_SERVER))
    if body.concurrency_limit is not None and body.concurrency_key is None:
        faults.append(Fault(pointer="#/concurrency_limit", detail="goes with a concurrency_key"))
    return plan


def schedule_of(body: ScheduleBody, faults: list[Fault]) -> Schedule:
    """The schedule that `body` is; what is wrong with it goes into `faults`."""
    plan = Schedule(
        cron_expression=tuple(each) if isinstance(each := body.cron_expression, list) else each,
        interval_seconds=body.interval_seconds,
        run_at=_utc_ms(body.run_at),
        start_at=_utc_ms(body.start_at),
        end_at=_utc_ms(body.end_at),
        max_runs=body.max_runs,
        jitter_seconds=body.jitter_seconds,
        exclude=_spans(body.exclude),
        exclude_calendars=tuple(dict.fromkeys(body.exclude_calendars)),
        timezone=body.timezone,
        dst_policy=_policy(body.dst_policy),
    )
    try:
        schedule.check(plan)
    except BadSchedule as refusal:
        faults.append(Fault(pointer=pointer(refusal.field), detail=str(refusal)))
    return plan


def content_of(body: CalendarBody) -> CalendarContent:
    """What `body` sets of a calendar, its days checked.

    Raises:
        Problem: 422, with everything that is wrong.
    """
    faults: list[Fault] = []
    spans = _spans(body.dates)
    for index, span in enumerate(spans):
        try:
            check_span(span)
        except BadSpan as refusal:
            faults.append(Fault(pointer=pointer("dates", index), detail=str(refusal)))
    if body.timezone is not None:
        try:
            zone_named(body.timezone)
        except UnknownZone as refusal:
            faults.append(Fault(pointer="#/timezone", detail=str(refusal)))
    if faults:
        raise invalid(*faults[:FAULTS_MAX])
    weekdays = tuple(day for day in WEEKDAYS if day in body.weekdays)
    return CalendarContent(
        description=body.description, dates=spans, weekdays=weekdays, timezone=body.timezone
    )


def _spans(ranges: Iterable[Range]) -> tuple[Span, ...]:
    return tuple(Span(from_=each.from_, to=each.to) for each in ranges)


def merged_data(
    job_type: str,
    data: Mapping[str, Any],
    over: Mapping[str, Any],
    *,
    known: Known,
    catalog: Catalog,
) -> dict[str, Any]:
    """A trigger's `over` laid over the job's `data`, key by key, and checked.

    Raises:
        Problem: 422, with everything that is wrong.
    """
    faults: list[Fault] = []
    merged = _checked(job_type, {**data, **over}, known, catalog, faults)
    try:
        small(merged)
    except PydanticCustomError as error:
        faults.append(Fault(pointer="#/job_data", detail=f"merged over the job's, it {error.message()}"))
    if faults:
        raise invalid(*faults)
    return merged


def _checked(
    job_type: str, data: dict[str, Any], known: Known, catalog: Catalog, faults: list[Fault]
) -> dict[str, Any]:
    """`data` as it is to be kept; what is wrong with it goes into `faults`."""
    if wrong := list(reserved(data)):
        faults += wrong
        return data
    try:
        return job_types.check(job_type, data, known=known, catalog=catalog)
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
        schedule=plan,
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
        start_deadline_seconds=body.start_deadline_seconds,
        max_lost=body.max_lost,
        pause_after_failures=body.pause_after_failures,
        chain=_chain(body),
        concurrency_key=body.concurrency_key,
        concurrency_limit=_limit(body),
    )


def _limit(body: JobBody) -> int | None:
    return None if body.concurrency_key is None else body.concurrency_limit or 1


def _chain(body: JobBody) -> Chain | None:
    """None: nothing follows, which is what jobs have that were made before there was a choice."""
    chain = Chain(
        on_success=tuple(body.on_success),
        on_failure=tuple(body.on_failure),
        mail_on_failure=tuple(body.notify_on_failure),
    )
    return None if chain == Chain() else chain


def _policy(asked: Dst) -> DstPolicy | None:
    """None: all `auto`, which is what jobs have that were made before there was a choice."""
    policy = DstPolicy(gap=asked.gap, overlap=asked.overlap)
    return None if policy == DstPolicy() else policy


def _utc_ms(at: datetime | None) -> datetime | None:
    """As answers show it."""
    if at is None:
        return None
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
