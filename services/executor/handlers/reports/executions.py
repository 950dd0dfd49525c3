"""Daybook's own numbers: how the runs of a tenant went, from the read model.

A run counts on the day it ended, by the clocks of the report's zone, with the duration of its last attempt. What the
projector has not come to yet is not in it: usually less than a second's worth.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from services.executor.handlers.reports.periods import days_of
from services.executor.handlers.reports.report import Chart, Column, Figure, Report, Section, Table
from shared.readmodel import database

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.executor.handlers.reports.periods import Period
    from services.executor.handlers.reports.report import Value
    from shared.job_types.report_generation import Template

JOB_WAIT_S = 20.0  # a job that was made a moment ago comes into the read model within a second or so
LOOK_AGAIN_S = 0.2
STATEMENT_TIMEOUT_S = 900.0
_PACKAGE = "services.executor.handlers.reports"
_MEASURES = (
    Column(name="runs", kind="integer", label="Runs"),
    Column(name="succeeded", kind="integer", label="Succeeded"),
    Column(name="failed", kind="integer", label="Failed"),
    Column(name="cancelled", kind="integer", label="Cancelled"),
    Column(name="expired", kind="integer", label="Expired"),
    Column(name="success_ratio", kind="ratio", label="Success"),
    Column(name="p50_ms", kind="milliseconds", label="Duration p50"),
    Column(name="p99_ms", kind="milliseconds", label="Duration p99"),
    Column(name="retries", kind="integer", label="Retries"),
    Column(name="skipped", kind="integer", label="Skipped"),
)
_JOB_TYPE = Column(name="job_type", label="Job type")
_DAY = Column(name="day", kind="date", label="Day")
_MONTH = Column(name="month", label="Month")


class JobNotProjected(Exception):  # noqa: N818 - its name is what people read as the failure's class
    """The read model doesn't know the job of this run yet, so not whose executions to report on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What is counted together; None: all of them. `day` and `month` are first days."""

    job_type: str | None = None
    day: date | None = None
    month: date | None = None


Counted = dict[Group, dict[str, "Value"]]


async def report(
    url: str, *, job_id: str, period: Period, template: Template, title: str, scheduled_for: datetime
) -> Report:
    """The report on all runs of the job's tenant that ended in the period.

    Args:
        url: of the read model.
        job_id: of the job that reports: whose tenant it is.
        period: if it is open, all that has ended before `scheduled_for`.
        template: which sections.
        title: its own.
        scheduled_for: the nominal time of the run.

    Raises:
        JobNotProjected: within JOB_WAIT_S.
    """
    pool = await database.connect_pool(
        url,
        max_size=1,
        statement_timeout_s=STATEMENT_TIMEOUT_S,
        session={"default_transaction_read_only": "on"},
    )
    async with pool, pool.acquire() as connection:
        tenant = await _tenant_of(connection, job_id)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            closed = await _closed(connection, tenant, period, scheduled_for)
            counted = await _count(connection, tenant, closed)
    return Report(
        title=title,
        subtitle="Executions that ended in this time, by the day they ended",
        period=period,
        scheduled_for=scheduled_for,
        totals=_totals(counted),
        sections=_sections(counted, template, months=closed.months),
    )


async def _tenant_of(connection: database.Connection, job_id: str) -> str:
    query = database.sql(_PACKAGE, "tenant.sql")
    for _ in range(round(JOB_WAIT_S / LOOK_AGAIN_S)):
        tenant: str | None = await connection.fetchval(query, job_id)
        if tenant is not None:
            return tenant
        await asyncio.sleep(LOOK_AGAIN_S)
    raise JobNotProjected(f"job {job_id} is not in the read model after {JOB_WAIT_S:g} s")


async def _closed(
    connection: database.Connection, tenant: str, period: Period, scheduled_for: datetime
) -> Period:
    """The period with a start and an end: an open one begins with the first run that ended."""
    if period.start is not None and period.end is not None:
        return period
    end = scheduled_for.astimezone(period.zone)
    first = await connection.fetchval(database.sql(_PACKAGE, "first_end.sql"), tenant)
    start = end if first is None else min(first, end).astimezone(period.zone)
    return replace(period, start=start, end=end)


async def _count(connection: database.Connection, tenant: str, period: Period) -> Counted:
    days = days_of(period)
    months = sorted({day.replace(day=1) for day, _ in days})
    span = (tenant, _utc(period.start), _utc(period.end), [begin.astimezone(UTC) for _, begin in days])
    in_month = [months.index(day.replace(day=1)) + 1 for day, _ in days]
    counted: Counted = {}
    for row in await connection.fetch(database.sql(_PACKAGE, "executions.sql"), *span, in_month):
        group = Group(
            job_type=row["job_type"],
            day=None if row["day"] is None else days[row["day"] - 1][0],
            month=None if row["month"] is None else months[row["month"] - 1],
        )
        counted[group] = _measures(row)
    for row in await connection.fetch(database.sql(_PACKAGE, "skipped.sql"), *span):
        _add_skipped(counted, row["job_type"], days[row["day"] - 1][0], row["skipped"])
    return counted


def _utc(at: datetime | None) -> datetime:
    assert at is not None  # noqa: S101 - `_closed` has seen to it
    return at.astimezone(UTC)


def _measures(row: Any) -> dict[str, Value]:
    judged = row["succeeded"] + row["failed"]
    return {
        **{name: row[name] for name in _COUNTS},
        "success_ratio": row["succeeded"] / judged if judged else None,
        "p50_ms": row["p50_ms"],
        "p99_ms": row["p99_ms"],
        "skipped": 0,
    }


_COUNTS = ("runs", "succeeded", "failed", "cancelled", "expired", "retries")
_NOTHING: dict[str, Value] = {
    **dict.fromkeys(_COUNTS, 0), "success_ratio": None, "p50_ms": None, "p99_ms": None, "skipped": 0,
}  # fmt: skip


def _add_skipped(counted: Counted, job_type: str, day: date, skipped: int) -> None:
    """To all groups that they belong to, whether or not anything ran in them."""
    month = day.replace(day=1)
    for group in (
        Group(),
        Group(job_type=job_type),
        Group(day=day),
        Group(month=month),
        Group(job_type=job_type, day=day),
        Group(job_type=job_type, month=month),
    ):
        measures = counted.setdefault(group, dict(_NOTHING))
        measures["skipped"] = _whole(measures["skipped"]) + skipped


def _whole(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _totals(counted: Counted) -> tuple[Figure, ...]:
    whole = counted.get(Group(), _NOTHING)
    return tuple(
        Figure(name=each.name, label=each.label, kind=each.kind, value=whole[each.name]) for each in _MEASURES
    )


def _sections(counted: Counted, template: Template, *, months: bool) -> tuple[Section, ...]:
    by_type = _section("By job type", counted, (_JOB_TYPE,), chart="Executions by job type")
    by_month = _section("By month", counted, (_MONTH,), chart="Executions by month")
    by_day = _section("By day", counted, (_DAY,), chart="" if months else "Executions by day")
    match template:
        case "monthly_summary":
            return (by_month, by_type, _section("By month and job type", counted, (_MONTH, _JOB_TYPE)))
        case "detailed":
            times = (by_month, by_day) if months else (by_day,)
            return (by_type, *times, _section("By day and job type", counted, (_DAY, _JOB_TYPE)))
        case "summary":
            return (by_type, by_month if months else by_day)


def _section(title: str, counted: Counted, keys: tuple[Column, ...], *, chart: str = "") -> Section:
    """One row for each group that has just these keys, in their order."""
    names = [key.name for key in keys]
    groups = sorted(
        (group for group in counted if _keys(group) == set(names)),
        key=lambda group: [str(getattr(group, name)) for name in names],
    )
    rows = tuple(
        (*(_key(getattr(group, name), name) for name in names), *_values(counted[group])) for group in groups
    )
    table = Table(name="_".join(names), title=title, columns=(*keys, *_MEASURES), rows=rows)
    labels = tuple(" ".join(str(_key(getattr(group, name), name)) for name in names) for group in groups)
    return Section(
        title=title, table=table, chart=_chart(chart, labels, [counted[group] for group in groups])
    )


def _keys(group: Group) -> set[str]:
    return {name for name in ("job_type", "day", "month") if getattr(group, name) is not None}


def _key(value: Any, name: str) -> Value:
    return f"{value:%Y-%m}" if name == "month" else value


def _values(measures: Mapping[str, Value]) -> Iterable[Value]:
    return (measures[column.name] for column in _MEASURES)


def _chart(title: str, labels: tuple[str, ...], measures: list[dict[str, Value]]) -> Chart | None:
    if not title:
        return None
    series = tuple(
        (name, tuple(float(_whole(each[name])) for each in measures)) for name in ("succeeded", "failed")
    )
    return Chart(title=title, kind="integer", categories=labels, series=series)
