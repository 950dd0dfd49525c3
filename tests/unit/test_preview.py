"""What a schedule comes to, as it is shown to people: each row is a promise about one change of the clocks."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from shared.domain.preview import planned
from shared.domain.schedule import Schedule
from shared.domain.walk import DstPolicy

MARCH, OCTOBER = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)


def berlin(*expressions, **policy):
    return Schedule(
        cron_expression=expressions if len(expressions) > 1 else expressions[0],
        timezone="Europe/Berlin",
        dst_policy=DstPolicy(**policy) if policy else None,
    )


def shown(schedule, after, count=2):
    """Occurrences as `local time rule`, and what was dropped as `local time rule`, each once."""
    found = list(islice(planned(schedule, after, anchor_at=after), count))
    dropped = {each.at: each for one in found for each in one.dropped}
    return (
        [f"{one.local_time[5:]} {one.rule or ''}".strip() for one in found],
        [f"{dropped[at].local_time[5:]} {dropped[at].rule}" for at in sorted(dropped)],
    )


@pytest.mark.parametrize(
    ("schedule", "after", "occurrences", "dropped"),
    [
        (berlin("30 2 * * *"), MARCH, ["03-29T03:00:00+02:00 gap_next_valid", "03-30T02:30:00+02:00"], []),
        (berlin("30 2 * * *", gap="skip"), MARCH, ["03-30T02:30:00+02:00", "03-31T02:30:00+02:00"],
         ["03-29T02:30:00 gap_skip"]),
        (berlin("*/30 2 * * *"), MARCH, ["03-30T02:00:00+02:00", "03-30T02:30:00+02:00"],
         ["03-29T02:00:00 gap_skip"]),
        (berlin("30 2 * * *"), OCTOBER, ["10-25T02:30:00+02:00 overlap_first", "10-26T02:30:00+01:00"],
         ["10-25T02:30:00+01:00 overlap_first"]),
        (berlin("0,30 2 * * *"), OCTOBER,
         ["10-25T02:00:00+02:00 overlap_first", "10-25T02:30:00+02:00 overlap_first"],
         ["10-25T02:00:00+01:00 overlap_first", "10-25T02:30:00+01:00 overlap_first"]),
        (berlin("30 2 * * *", overlap="last"), OCTOBER,
         ["10-25T02:30:00+01:00 overlap_last", "10-26T02:30:00+01:00"], ["10-25T02:30:00+02:00 overlap_last"]),
        (berlin("30 2 * * *", overlap="both"), OCTOBER, ["10-25T02:30:00+02:00", "10-25T02:30:00+01:00"], []),
        (berlin("*/30 2 * * *"), OCTOBER, ["10-25T02:00:00+02:00", "10-25T02:30:00+02:00"], []),
        (berlin("30 2 * * *", "*/30 2 * * *"), OCTOBER + timedelta(hours=12, minutes=20),
         ["10-25T02:30:00+02:00", "10-25T02:00:00+01:00"], []),
        (berlin("30 2 * * *"), datetime(2026, 10, 25, 0, 45, tzinfo=UTC),
         ["10-26T02:30:00+01:00", "10-27T02:30:00+01:00"],
         ["10-25T02:30:00+01:00 overlap_first"]),
        (berlin("0 12 * * *"), OCTOBER, ["10-25T12:00:00+01:00", "10-26T12:00:00+01:00"], []),
        (Schedule(interval_seconds=3600, timezone="Europe/Berlin"), datetime(2026, 10, 24, 23, 30, tzinfo=UTC),
         ["10-25T02:30:00+02:00", "10-25T02:30:00+01:00"], []),
    ],
)  # fmt: skip
def test_what_becomes_of_an_occurrence_where_clocks_change_is_shown(schedule, after, occurrences, dropped):
    assert shown(schedule, after) == (occurrences, dropped)


def test_what_lies_outside_the_window_is_not_shown_as_dropped():
    window = {"cron_expression": "30 2 * * *", "timezone": "Europe/Berlin"}
    ends = Schedule(**window, end_at=datetime(2026, 10, 25, 1, tzinfo=UTC))
    assert shown(ends, OCTOBER) == (["10-25T02:30:00+02:00 overlap_first"], [])


def test_what_was_announced_comes_first_even_if_it_would_not_be_found_again():
    announced = datetime(2026, 3, 28, 13, 37, tzinfo=UTC)
    first, second = islice(planned(berlin("30 4 * * *"), MARCH, anchor_at=MARCH, announced=announced), 2)
    assert (first.at, second.local_time) == (announced, "2026-03-29T04:30:00+02:00")
