"""The occurrences of a schedule, one after the other, as the oracle sees them; intervals are counted."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from . import oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.domain.schedule import Schedule

DAY = timedelta(days=1)
TICK = timedelta(milliseconds=1)
LOOKED_AT = 70  # days: every cron expression of the tests fires within them


@cache
def _of_day(expression: str, zone: str, gap: str, overlap: str, day: datetime) -> list[datetime]:
    return oracle.occurrences(expression, zone, day - TICK, day + DAY - TICK, gap=gap, overlap=overlap)


def after(schedule: Schedule, anchor: datetime, moment: datetime) -> Iterator[datetime]:
    """The occurrences after `moment`, one by one."""
    if schedule.start_at is not None:
        moment = max(moment, schedule.start_at - TICK)
    for at in _unbounded(schedule, anchor, moment):
        if _is_excluded(schedule, at):
            continue
        if schedule.end_at is not None and at > schedule.end_at:
            return
        yield at


def _unbounded(schedule: Schedule, anchor: datetime, moment: datetime) -> Iterator[datetime]:
    if schedule.run_at is not None:
        yield from (at for at in [schedule.run_at] if at > moment)
    elif schedule.interval_seconds is not None:
        step = timedelta(seconds=schedule.interval_seconds)
        first = schedule.start_at or anchor + step
        number = max(0, (moment - first) // step + 1)
        while True:
            yield first + number * step
            number += 1
    elif schedule.cron_expression is not None:
        yield from _cron(schedule, moment)


def _cron(schedule: Schedule, moment: datetime) -> Iterator[datetime]:
    several = schedule.cron_expression
    expressions = (several,) if isinstance(several, str) else several
    policy = schedule.dst_policy
    rules = (policy.gap, policy.overlap) if policy else ("auto", "auto")
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    quiet = 0
    while quiet < LOOKED_AT:
        found = sorted({at for each in expressions for at in _of_day(each, schedule.timezone, *rules, day)})
        for at in found:
            if at > moment:
                quiet = 0
                yield at
        day += DAY
        quiet += 1


def _is_excluded(schedule: Schedule, at: datetime) -> bool:
    if not schedule.exclude:
        return False
    day = at.astimezone(oracle.zone(schedule.timezone)).date()
    return any(span.from_ <= day <= span.to for span in schedule.exclude)
