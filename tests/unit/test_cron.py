"""What an expression says, and what is no expression."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.cron import BadCron, parse

NEW_YEAR = "2026-01-01T00:00:00"  # a Thursday


def walls(expression: str, count: int = 3, after: str = NEW_YEAR) -> list[str]:
    cron, at = parse(expression), datetime.fromisoformat(after)
    found = []
    for _ in range(count):
        at = cron.next_wall(at)
        found.append(at.isoformat(" ").removeprefix("2026-").removesuffix(":00"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 9 * * 1", ["01-05 09:00", "01-12 09:00", "01-19 09:00"]),
        ("5 4 * * *", ["01-01 04:05", "01-02 04:05", "01-03 04:05"]),
        ("30 5 4 * * *", ["01-01 04:05:30", "01-02 04:05:30", "01-03 04:05:30"]),  # seconds first
        ("*/20 0 0 * * *", ["01-01 00:00:20", "01-01 00:00:40", "01-02 00:00"]),
        ("  0\t9  * * 1 ", ["01-05 09:00", "01-12 09:00", "01-19 09:00"]),
        ("00 09 * * 01", ["01-05 09:00", "01-12 09:00", "01-19 09:00"]),
        ("*/25 * * * *", ["01-01 00:25", "01-01 00:50", "01-01 01:00"]),
        ("10-20/5 3 * * *", ["01-01 03:10", "01-01 03:15", "01-01 03:20"]),
        ("50/5 3 * * *", ["01-01 03:50", "01-01 03:55", "01-02 03:50"]),
        ("59/15 3 * * *", ["01-01 03:59", "01-02 03:59", "01-03 03:59"]),
        ("5,1,3 3 * * *", ["01-01 03:01", "01-01 03:03", "01-01 03:05"]),
        ("5-5 3 * * *", ["01-01 03:05", "01-02 03:05", "01-03 03:05"]),  # croniter: every minute
        ("0 0 * feb,DEC *", ["02-01 00:00", "02-02 00:00", "02-03 00:00"]),
        ("0 0 1 sep-nov *", ["09-01 00:00", "10-01 00:00", "11-01 00:00"]),
        ("0 0 L * *", ["01-31 00:00", "02-28 00:00", "03-31 00:00"]),
        ("0 0 L,15 * *", ["01-15 00:00", "01-31 00:00", "02-15 00:00"]),
        ("0 0 15W * *", ["01-15 00:00", "02-16 00:00", "03-16 00:00"]),  # Sundays: the Monday
        ("0 0 1w * *", ["02-02 00:00", "03-02 00:00", "04-01 00:00"]),
        ("0 0 1W 8 *", ["08-03 00:00", "2027-08-02 00:00", "2028-08-01 00:00"]),  # a Saturday: never July
        ("0 0 28W,L 2 *", ["02-27 00:00", "02-28 00:00", "2027-02-26 00:00"]),
        ("0 0 15W 2 2", ["02-03 00:00", "02-10 00:00", "02-16 00:00"]),  # OR, as any day of a month
        ("0 0 31 * *", ["01-31 00:00", "03-31 00:00", "05-31 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        ("@hourly", ["01-01 01:00", "01-01 02:00", "01-01 03:00"]),
        ("@daily", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("@midnight", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("@weekly", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("@Monthly ", ["02-01 00:00", "03-01 00:00", "04-01 00:00"]),
        ("@yearly", ["2027-01-01 00:00", "2028-01-01 00:00", "2029-01-01 00:00"]),
        ("@annually", ["2027-01-01 00:00", "2028-01-01 00:00", "2029-01-01 00:00"]),
    ],
)
def test_an_expression_says_when(expression, expected):
    assert walls(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 * * 0", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),  # 0 and 7 are Sunday
        ("0 0 * * 7", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 * * SUN", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 * * 6-7", ["01-03 00:00", "01-04 00:00", "01-10 00:00"]),
        ("0 0 * * sat-sun", ["01-03 00:00", "01-04 00:00", "01-10 00:00"]),
        ("0 0 * * sun-mon", ["01-04 00:00", "01-05 00:00", "01-11 00:00"]),
        ("0 0 * * sun-sun", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 * * 0-7", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("0 0 * * 1-7/3", ["01-04 00:00", "01-05 00:00", "01-08 00:00"]),  # Monday, Thursday, Sunday
        ("0 0 * * */4", ["01-04 00:00", "01-08 00:00", "01-11 00:00"]),  # Sunday, Thursday
        ("0 0 * * L5", ["01-30 00:00", "02-27 00:00", "03-27 00:00"]),
        ("0 0 * * L7", ["01-25 00:00", "02-22 00:00", "03-29 00:00"]),
        ("0 0 * * 5#2", ["01-09 00:00", "02-13 00:00", "03-13 00:00"]),
        ("0 0 * * fri#2", ["01-09 00:00", "02-13 00:00", "03-13 00:00"]),
        ("0 0 * * 7#1", ["01-04 00:00", "02-01 00:00", "03-01 00:00"]),
        ("0 0 * * thu-fri#1", ["01-02 00:00", "02-05 00:00", "02-06 00:00"]),
        ("0 0 * * sat-sun#1", ["01-03 00:00", "01-04 00:00", "02-01 00:00"]),
        ("0 0 * * 5#5", ["01-30 00:00", "05-29 00:00", "07-31 00:00"]),
        ("0 0 * * 5#2,5#4", ["01-09 00:00", "01-23 00:00", "02-13 00:00"]),
        ("0 0 * * 5#2,L5", ["01-09 00:00", "01-30 00:00", "02-13 00:00"]),
        ("0 0 * * mon,5#2", ["01-05 00:00", "01-09 00:00", "01-12 00:00"]),  # croniter refuses the mixture
    ],
)
def test_weekdays_are_counted_from_sunday_which_is_0_and_7(expression, expected):
    assert walls(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 13 * 5", ["01-02 00:00", "01-09 00:00", "01-13 00:00"]),
        ("0 0 13 * ?", ["01-13 00:00", "02-13 00:00", "03-13 00:00"]),
        ("0 0 13 * *", ["01-13 00:00", "02-13 00:00", "03-13 00:00"]),
        ("0 0 ? * 5", ["01-02 00:00", "01-09 00:00", "01-16 00:00"]),
        ("0 0 ? * ?", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        # Only `*` and `?` themselves stand aside: a field that merely names every day doesn't.
        ("0 0 */30 * 1", ["01-05 00:00", "01-12 00:00", "01-19 00:00"]),
        ("0 0 */10 * 0", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 1-31 * 1", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("0 0 */1 * 1", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("0 0 */2 * 0-6", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),  # croniter: odd days only
        ("0 0 13 * */1", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("0 0 13 * 5#2", ["01-09 00:00", "01-13 00:00", "02-13 00:00"]),  # croniter loses the 13th of January
        ("0 0 L * L1", ["01-26 00:00", "01-31 00:00", "02-23 00:00"]),
        ("0 0 30 2 1", ["02-02 00:00", "02-09 00:00", "02-16 00:00"]),  # a side that never comes adds nothing
    ],
)
def test_day_of_month_or_weekday_unless_one_is_exactly_a_star_or_a_question_mark(expression, expected):
    assert walls(expression) == expected


@pytest.mark.parametrize(
    ("expression", "fixed_time"),
    [
        ("0 2 * * *", True),
        ("0,30 2,3 * * 1-5", True),
        ("15 30 2 */2 * *", True),
        ("@daily", True),
        ("@hourly", False),
        ("* 2 * * *", False),
        ("0 */2 * * *", False),
        ("0 9-17 * * *", False),
        ("0 2-2 * * *", False),
        ("5/10 2 * * *", False),
        ("* 0 2 * * *", False),
        ("0-30 0 2 * * *", False),
    ],
)
def test_an_expression_is_fixed_time_if_its_seconds_minutes_and_hours_are_numbers_and_lists(
    expression, fixed_time
):
    assert parse(expression).fixed_time is fixed_time


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "five fields, or six"),
        ("* * * *", "not 4"),
        ("0 0 1 1 * * 2030", "seven fields"),
        ("0 0 * * * 0 0 * * *", "not 10"),
        ("60 * * * *", "minute 60 is out of range: 0 to 59"),
        ("1-60 * * * *", "minute 60 is out of range"),
        ("* 24 * * *", "hour 24 is out of range: 0 to 23"),
        ("0 0 0 * *", "day-of-month 0 is out of range: 1 to 31"),
        ("0 0 32 * *", "day-of-month 32"),
        ("0 0 * 0 *", "month 0 is out of range: 1 to 12"),
        ("0 0 * 13 *", "month 13"),
        ("0 0 * * 8", "weekday 8 is out of range: 0 to 7"),
        ("60 0 0 * * *", "second 60"),
        ("0 0 1 1 * 2030", "weekday 2030"),  # the year at the end is no sixth field
        ("*/90 * * * *", r"minute \*/90: a step lies between 1 and 59"),  # croniter: hourly
        ("*/60 * * * *", "a step lies"),
        ("0 */24 * * *", r"hour \*/24: a step lies between 1 and 23"),
        ("0 0 */32 * *", "a step lies"),
        ("0 0 * */13 *", "a step lies"),
        ("0 0 * * */8", "a step lies"),
        ("5-10/70 * * * *", "a step lies"),
        ("*/0 * * * *", "a step lies"),
        ("50-10 * * * *", "minute 50-10: the range runs backwards"),  # croniter wraps
        ("0 22-4 * * *", "backwards"),
        ("0 0 * nov-feb *", "backwards"),
        ("0 0 * * fri-mon", "backwards"),
        ("0 0 * * 6-0", "backwards"),
        ("0 0 * * 7/2", "backwards"),
        ("*,5 * * * *", r"minute \*: not understood"),
        ("0 0 *,1 * 1", "not understood"),
        ("*-5 * * * *", "not understood"),
        ("? * * * *", r"minute \?: not understood"),
        ("0 0 * ? *", "not understood"),
        ("0 0 ?,1 * *", "not understood"),
        ("0 0 1,,2 * *", "day-of-month .empty.: not understood"),
        (", * * * *", "not understood"),
        ("- * * * *", "not understood"),
        ("-5 * * * *", "not understood"),
        ("1- * * * *", "not understood"),
        ("1-2-3 * * * *", "not understood"),
        ("5/ * * * *", "not understood"),
        ("/5 * * * *", "not understood"),
        ("*/5/5 * * * *", "not understood"),
        ("*/* * * * *", "not understood"),
        ("1.5 * * * *", "letters, digits, blanks"),
        ("+5 * * * *", "letters, digits, blanks"),
        ("mon * * * *", "minute mon: not understood"),
        ("0 0 * mon *", "month mon: not understood"),
        ("0 0 * * jan", "weekday jan: not understood"),
        ("0 0 * january *", "not understood"),
        ("0 0 * * monday", "not understood"),
        ("0 0 L-3 * *", "day-of-month l-3: not understood"),
        ("0 0 * L *", "not understood"),
        ("0 0 * * L", "weekday l: not understood"),
        ("R * * * *", "H draws one and keeps it"),
        ("0 R(1-5) * * *", "H draws one and keeps it"),
        ("0 0 29W * *", "W goes with 1 to 28"),  # croniter: the 30th's neighbour in April
        ("0 0 0W * *", "W goes with 1 to 28"),
        ("0 0 W15 * *", "day-of-month w15: not understood"),
        ("0 0 1-5W * *", "not understood"),
        ("0 0 LW * *", "the last working day is not supported"),
        ("0 0 * * 1W", "weekday 1w: not understood"),
        ("@reboot", "names times"),
        ("0 0 * * *\n0 12 * * *", "give a list of texts"),
        ("0 0 * * *; 0 12 * * *", "give a list of texts"),
        ("0 0 * * * | 0 12 * * *", "give a list of texts"),
        ("0 0 * * 5L", r"written L5 \(0 or 7 is Sunday\)"),
        ("0 0 * * L8", "weekday 8 is out of range"),
        ("0 0 * * 5#0", "#1 to #5"),
        ("0 0 * * 5#6", "#1 to #5"),
        ("0 0 * * 5#", "not understood"),
        ("0 0 * * #2", "not understood"),
        ("0 0 * * *#2", "not understood"),
        ("0 0 * * 5/2#2", "not understood"),
        ("0 0 5#2 * *", "day-of-month 5#2: not understood"),
        ("@every 5s", "@every 5s is not known; the macros are @hourly"),
        ("@fortnightly", "not known"),
        ("@", "not known"),
        ("@ daily", "not known"),
        ("0\u00a00 * * *", "letters, digits, blanks"),  # a no-break space
        ("0\u30000 * * *", "letters, digits, blanks"),
        ("0\v0 * * *", "letters, digits, blanks"),
        ("0 \u0663 * * *", "letters, digits, blanks"),  # an Arabic 3
        ("0 \uff13 * * *", "letters, digits, blanks"),
        ("0 0 * * \u212aon", "letters, digits, blanks"),  # lower() makes a plain k of it
        ("0 0 * *\0 *", "letters, digits, blanks"),
        ("9" * 900 + " * * * *", "out of range"),
        ("1," * 50_000 + "1 * * * *", "at most 1,000 characters, not 100,009"),
    ],
)
def test_what_is_not_understood_exactly_is_refused_with_a_sentence(expression, says):
    with pytest.raises(BadCron, match=says):
        parse(expression)


@pytest.mark.parametrize(
    "expression", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 * 2 1#5", "59 59 23 31 2 *"]
)
def test_a_search_for_what_does_not_come_ends_after_eight_years_and_soon(expression):
    cron = parse(expression)
    started = time.perf_counter()

    assert cron.next_wall(datetime.fromisoformat("2025-03-01")) is None
    assert time.perf_counter() - started < 0.1


def test_next_wall_is_strictly_later_and_never_between_seconds():
    cron = parse("* * * * * *")
    at = datetime.fromisoformat("2026-02-28T23:59:58")

    assert cron.next_wall(at) == at + timedelta(seconds=1)
    assert parse("0 0 1 3 *").next_wall(at) == datetime.fromisoformat("2026-03-01")
    assert parse("0 0 1 3 *").next_wall(datetime.fromisoformat("2026-03-01")) == datetime.fromisoformat(
        "2027-03-01"
    )


@settings(max_examples=100, deadline=None)
@given(st.text("0123456789*/-,?#@LWHRlwhrmonfrisjdec \t", max_size=24) | st.text(max_size=12))
def test_no_text_breaks_the_reader_or_makes_it_spin(text):
    at = datetime.fromisoformat(NEW_YEAR)
    with suppress(BadCron):
        found = parse(text).next_wall(at)
        assert found is None or found > at
