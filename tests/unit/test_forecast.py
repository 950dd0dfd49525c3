"""How much is to run: what the forecast counts is what each job by itself would come to."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from shared.domain import forecast
from shared.domain.exclude import Span
from shared.domain.forecast import Alike, Forecast, TooMuch
from shared.domain.schedule import Schedule, next_after, searches

BEGIN = datetime(2026, 10, 24, 20, tzinfo=UTC)  # the night in which Berlin's clocks are put back
HOUR = timedelta(hours=1)
SUNDAY = Span(from_=date(2026, 10, 25), to=date(2026, 10, 25))


def counted(groups, end, bucket, begin=BEGIN):
    made = Forecast(begin, end, bucket)
    for _ in made.steps(groups):
        pass
    return made


def one_by_one(groups, end, bucket, begin=BEGIN):
    """The same, by asking for each occurrence of each group on its own."""
    buckets = [0] * -(-(end - begin) // bucket)
    for group in groups:
        at, left = group.next_for, group.left
        while at is not None and at < end and left != 0:
            if at >= begin:
                buckets[(at - begin) // bucket] += group.jobs
            left = None if left is None else left - 1
            at = next_after(group.schedule, at, anchor_at=group.next_for)
    return buckets


def group_of(schedule, made_at, *, left=None, jobs=1, work_s=1.0):
    first = next_after(schedule, made_at, anchor_at=made_at)
    return Alike(schedule, first, left, jobs, work_s)


def test_jobs_of_all_kinds_are_counted_as_if_each_was_walked_by_itself():
    chance = random.Random(8)
    schedules = [
        Schedule(cron_expression="*/20 * * * *", timezone="Europe/Berlin"),
        Schedule(cron_expression="30 2 * * *", timezone="Europe/Berlin"),
        Schedule(cron_expression=("7 3 * * *", "0 */5 * * *"), timezone="Asia/Kathmandu"),
        Schedule(cron_expression="0 * * * *", end_at=BEGIN + 9 * HOUR),
        Schedule(interval_seconds=61),
        Schedule(interval_seconds=3_600),
        Schedule(interval_seconds=7_201, end_at=BEGIN + 20 * HOUR),
        Schedule(run_at=BEGIN + 5 * HOUR),
        Schedule(interval_seconds=1_800, exclude=(SUNDAY,), timezone="Europe/Berlin"),
        Schedule(cron_expression="5 * * * *", exclude=(SUNDAY,), jitter_seconds=900),
    ]
    groups = [
        group_of(
            chance.choice(schedules),
            BEGIN + chance.randrange(-2 * 3_600_000, 3 * 3_600_000) * timedelta(milliseconds=1),
            left=chance.choice((None, None, 1, 5, 40)),
            jobs=chance.randrange(1, 4),
        )
        for _ in range(120)
    ]
    for bucket in (timedelta(minutes=7), HOUR, timedelta(hours=11)):
        end = BEGIN + timedelta(hours=26, minutes=10)
        made = counted(groups, end, bucket)
        assert made.occurrences == one_by_one(groups, end, bucket)
        assert sum(made.occurrences) > 1_000


def test_work_is_what_an_occurrence_of_all_jobs_alike_takes():
    noon = Schedule(cron_expression="0 12 * * *")
    made = counted([group_of(noon, BEGIN, jobs=3, work_s=7.5)], BEGIN + 48 * HOUR, 24 * HOUR)
    assert (made.occurrences, made.work_s) == ([3, 3], [7.5, 7.5])


def test_any_number_of_jobs_of_one_expression_cost_one_walk():
    groups = [
        group_of(Schedule(cron_expression="17 * * * *", timezone="Asia/Tokyo"), BEGIN, left=left)
        for left in (None, *range(1, 500))
    ]
    before = searches()
    counted(groups, BEGIN + 12 * HOUR, HOUR)
    assert searches() - before <= 13


def test_what_would_cost_too_much_is_refused_after_as_much_as_may_be_spent(monkeypatch):
    monkeypatch.setattr(forecast, "COST_MAX", 50)
    minutely = group_of(Schedule(cron_expression="* * * * *"), BEGIN)
    with pytest.raises(TooMuch):
        counted([minutely], BEGIN + HOUR, HOUR)
    assert sum(counted([minutely], BEGIN + HOUR / 2, HOUR).occurrences) == 29
    seconds = [group_of(Schedule(interval_seconds=1), BEGIN) for _ in range(60)]
    with pytest.raises(TooMuch):
        counted(seconds, BEGIN + 100 * HOUR, HOUR)
