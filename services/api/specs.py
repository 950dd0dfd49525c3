"""From bodies to specifications: schedule and data are checked on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from services.api.json_body import pointer
from services.api.problems import Fault, invalid
from services.api.requests import small
from shared import job_types
from shared.domain import schedule
from shared.domain.retry import RetryPolicy
from shared.domain.schedule import BadSchedule, Schedule
from shared.domain.spec import Chain, JobSpec
from shared.domain.walk import DstPolicy
from shared.job_types.email_notification import NO_SERVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.api.requests import Dst, JobBody
    from shared.job_types import Catalog, Known


def spec_of(body: JobBody, *, known: Known, catalog: Catalog) -> JobSpec:
    """The specification that `body` is, its schedule and data checked.

    Raises:
        Problem: 422, with everything that is wrong.
    """
    faults: list[Fault] = []
    plan = Schedule(
        cron_expression=tuple(each) if isinstance(each := body.cron_expression, list) else each,
        interval_seconds=body.interval_seconds,
        run_at=body.run_at,
        start_at=body.start_at,
        end_at=body.end_at,
        max_runs=body.max_runs,
        timezone=body.timezone,
        dst_policy=_policy(body.dst_policy),
    )
    try:
        schedule.check(plan)
    except BadSchedule as refusal:
        faults.append(Fault(pointer=pointer(refusal.field), detail=str(refusal)))
    if body.notify_on_failure and not catalog.senders:
        faults.append(Fault(pointer="#/notify_on_failure", detail=NO_SERVER))
    data = _checked(body.job_type, body.job_data, known, catalog, faults)
    if faults:
        raise invalid(*faults)
    return _spec(body, plan, data)


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
        schedule=Schedule(
            cron_expression=plan.cron_expression,
            interval_seconds=plan.interval_seconds,
            run_at=_utc_ms(plan.run_at),
            start_at=_utc_ms(plan.start_at),
            end_at=_utc_ms(plan.end_at),
            max_runs=plan.max_runs,
            timezone=plan.timezone,
            dst_policy=plan.dst_policy,
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
        start_deadline_seconds=body.start_deadline_seconds,
        max_lost=body.max_lost,
        pause_after_failures=body.pause_after_failures,
        chain=_chain(body),
    )


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
