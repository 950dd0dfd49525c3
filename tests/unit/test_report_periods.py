"""Which time a report is about: names and days, months' ends and clocks that are changed."""

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest

from services.executor.handlers.reports.periods import days_of, resolve
from shared.job_types.report_generation import Span


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


NOON = utc(2026, 11, 23, 12)  # a Monday
TABLE = [
    # name, nominal time, zone, first instant, end
    ("today", NOON, "UTC", utc(2026, 11, 23), NOON),
    ("yesterday", NOON, "UTC", utc(2026, 11, 22), utc(2026, 11, 23)),
    ("last_24_hours", NOON, "UTC", utc(2026, 11, 22, 12), NOON),
    ("last_7_days", NOON, "UTC", utc(2026, 11, 16), utc(2026, 11, 23)),
    ("last_30_days", NOON, "UTC", utc(2026, 10, 24), utc(2026, 11, 23)),
    ("last_90_days", NOON, "UTC", utc(2026, 8, 25), utc(2026, 11, 23)),
    ("this_week", NOON, "UTC", utc(2026, 11, 23), NOON),
    ("last_week", NOON, "UTC", utc(2026, 11, 16), utc(2026, 11, 23)),
    ("last_week", utc(2026, 11, 22, 23), "UTC", utc(2026, 11, 9), utc(2026, 11, 16)),
    ("this_month", NOON, "UTC", utc(2026, 11, 1), NOON),
    ("last_month", NOON, "UTC", utc(2026, 10, 1), utc(2026, 11, 1)),
    ("this_quarter", NOON, "UTC", utc(2026, 10, 1), NOON),
    ("last_quarter", NOON, "UTC", utc(2026, 7, 1), utc(2026, 10, 1)),
    ("last_quarter", utc(2026, 2, 1), "UTC", utc(2025, 10, 1), utc(2026, 1, 1)),
    ("this_year", NOON, "UTC", utc(2026, 1, 1), NOON),
    ("last_year", NOON, "UTC", utc(2025, 1, 1), utc(2026, 1, 1)),
    # Months' ends: from the 31st, over a leap day, over the year's end.
    ("last_month", utc(2026, 3, 31, 9), "UTC", utc(2026, 2, 1), utc(2026, 3, 1)),
    ("last_month", utc(2028, 3, 1), "UTC", utc(2028, 2, 1), utc(2028, 3, 1)),
    ("last_month", utc(2027, 1, 31), "UTC", utc(2026, 12, 1), utc(2027, 1, 1)),
    ("yesterday", utc(2028, 3, 1, 5), "UTC", utc(2028, 2, 29), utc(2028, 3, 1)),
    # The zone's day isn't UTC's: late on 30 September in UTC it is October in Kiritimati, still September in Honolulu.
    ("last_month", utc(2026, 9, 30, 23), "Pacific/Kiritimati", utc(2026, 8, 31, 10), utc(2026, 9, 30, 10)),
    ("last_month", utc(2026, 10, 1, 9), "Pacific/Honolulu", utc(2026, 8, 1, 10), utc(2026, 9, 1, 10)),
    ("last_month", utc(2026, 10, 1, 10), "Pacific/Honolulu", utc(2026, 9, 1, 10), utc(2026, 10, 1, 10)),
    # Clocks are changed: a day of 23 hours, one of 25, and 24 hours that are neither.
    ("yesterday", utc(2026, 3, 30, 8), "Europe/Warsaw", utc(2026, 3, 28, 23), utc(2026, 3, 29, 22)),
    ("yesterday", utc(2026, 10, 26, 8), "Europe/Warsaw", utc(2026, 10, 24, 22), utc(2026, 10, 25, 23)),
    ("last_24_hours", utc(2026, 3, 29, 10), "Europe/Warsaw", utc(2026, 3, 28, 10), utc(2026, 3, 29, 10)),
    ("last_month", utc(2026, 4, 1, 8), "Europe/Warsaw", utc(2026, 2, 28, 23), utc(2026, 3, 31, 22)),
    ("last_month", utc(2026, 11, 1, 8), "Europe/Warsaw", utc(2026, 9, 30, 22), utc(2026, 10, 31, 23)),
    # Midnight itself is left out (São Paulo, 4 November 2018), or comes twice (Havana, 1 November 2026).
    ("yesterday", utc(2018, 11, 5, 12), "America/Sao_Paulo", utc(2018, 11, 4, 3), utc(2018, 11, 5, 2)),
    ("today", utc(2026, 11, 1, 12), "America/Havana", utc(2026, 11, 1, 4), utc(2026, 11, 1, 12)),
    # Half an hour's change, and an offset of three quarters.
    ("yesterday", utc(2026, 10, 4, 20), "Australia/Lord_Howe", utc(2026, 10, 3, 13, 30), utc(2026, 10, 4, 13)),
    ("yesterday", NOON, "Asia/Kathmandu", utc(2026, 11, 21, 18, 15), utc(2026, 11, 22, 18, 15)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "at", "zone", "start", "end"), TABLE)
def test_a_name_means_days_by_the_clocks_of_the_jobs_zone(name, at, zone, start, end):
    period = resolve(name, at, zone)
    assert (period.start, period.end) == (start, end)
    assert period.start.utcoffset() == start.astimezone(period.zone).utcoffset()


def test_days_are_given_with_both_ends():
    period = resolve(Span.model_validate({"from": "2026-10-01", "to": "2026-10-31"}), NOON, "Europe/Warsaw")
    assert period.as_json() == {
        "from": "2026-10-01T00:00:00+02:00", "to": "2026-11-01T00:00:00+01:00", "timezone": "Europe/Warsaw",
    }  # fmt: skip
    assert (period.first_day, period.last_day) == (date(2026, 10, 1), date(2026, 10, 31))
    assert period.words() == "2026-10-01 to 2026-10-31 (Europe/Warsaw)"


def test_all_is_open_at_both_ends():
    assert resolve("all", NOON, "UTC").as_json() == {"from": None, "to": None, "timezone": "UTC"}


def test_each_day_of_a_period_begins_where_the_one_before_ends():
    days = days_of(resolve("last_month", utc(2026, 11, 1, 8), "Europe/Warsaw"))
    assert [day.day for day, _ in days] == list(range(1, 32))
    lengths = [
        (later - begin.astimezone(UTC)).total_seconds() / 3600 for (_, begin), (_, later) in pairwise(days)
    ]
    assert (lengths[24], set(lengths[:24] + lengths[25:])) == (25, {24})


def test_a_day_that_the_zone_never_had_has_no_length():
    days = days_of(
        resolve(Span.model_validate({"from": "2011-12-29", "to": "2011-12-31"}), NOON, "Pacific/Apia")
    )
    assert [day.isoformat() for day, _ in days] == ["2011-12-29", "2011-12-30", "2011-12-31"]
    assert days[1][1] == days[2][1]


def test_a_part_of_a_day_is_one_day():
    assert [day for day, _ in days_of(resolve("today", NOON, "UTC"))] == [date(2026, 11, 23)]
