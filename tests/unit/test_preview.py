"""What a schedule comes to, as it is shown to people: each row is a promise about one change of the clocks."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from msgspec.structs import replace

from shared.domain.calendar import Calendar
from shared.domain.calendars import Seen
from shared.domain.commands import CreateJob
from shared.domain.deciding import decide
from shared.domain.exclude import Span
from shared.domain.jitter import fires_at
from shared.domain.job import Skip, Status, evolve
from shared.domain.preview import EXCLUDED_SHOWN, Dropped, First, TooFar, planned, upcoming
from shared.domain.schedule import Schedule
from shared.domain.walk import DstPolicy
from shared.testing import a_job_id, a_spec

MARCH, OCTOBER = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)


def berlin(*expressions, **policy):
    return Schedule(
        cron_expression=expressions if len(expressions) > 1 else expressions[0],
        timezone="Europe/Berlin",
        dst_policy=DstPolicy(**policy) if policy else None,
    )


def seen(steps, count):
    """The first so many occurrences, and what is left out on the way, each once and in order."""
    found, dropped = [], {}
    for each in steps:
        if isinstance(each, Dropped):
            dropped[each.at] = each
        elif each is not None:
            found.append(each)
        if len(found) == count:
            break
    return found, [dropped[at] for at in sorted(dropped)]


def shown(schedule, after, count=2):
    """Occurrences as `local time rule`, and what was dropped as `local time reason`."""
    found, dropped = seen(planned(schedule, after, anchor_at=after), count)
    return (
        [f"{one.local_time[5:]} {one.rule or ''}".strip() for one in found],
        [f"{one.local_time[5:]} {one.reason}" for one in dropped],
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
    announced = First(datetime(2026, 3, 28, 13, 37, tzinfo=UTC), None)
    steps = planned(berlin("30 4 * * *"), MARCH, anchor_at=MARCH, first=announced)
    (first, second), _ = seen(steps, 2)
    assert (first.at, second.local_time) == (announced.at, "2026-03-29T04:30:00+02:00")


def test_jitter_is_drawn_for_the_job_that_is_named_and_never_leads_past_the_next_occurrence():
    schedule = Schedule(cron_expression="*/5 * * * *", jitter_seconds=3_600)
    for job_id in ("", a_job_id()):
        found, _ = seen(planned(schedule, MARCH, anchor_at=MARCH, job_id=job_id), 50)
        for one, another in pairwise(found):
            assert one.fires_at == fires_at(schedule, job_id, one.at, another.at)
            assert one.at <= one.fires_at < another.at
        assert any(one.fires_at > one.at for one in found)


def test_excluded_dates_are_shown_where_they_leave_something_out_but_not_without_end():
    christmas = Span(from_=date(2026, 12, 24), to=date(2026, 12, 26))
    daily = Schedule(cron_expression="0 9 * * *", timezone="Europe/Berlin", exclude=(christmas,))
    begin = datetime(2026, 12, 23, 12, tzinfo=UTC)
    assert shown(daily, begin, 1) == (
        ["12-27T09:00:00+01:00"],
        [f"12-{day}T09:00:00+01:00 exclude" for day in (24, 25, 26)],
    )
    ends = replace(daily, end_at=datetime(2026, 12, 25, 12, tzinfo=UTC))
    assert shown(ends, begin) == ([], [f"12-{day}T09:00:00+01:00 exclude" for day in (24, 25)])
    each_second = Schedule(interval_seconds=1, exclude=(christmas,))
    assert len(shown(each_second, begin + timedelta(hours=11), 3601 + 3600)[1]) == EXCLUDED_SHOWN


def a_calendar(*weekdays, **fields):
    told = {"revision": 1, "description": "", "timezone": None, "by": "ann", "dates": ()} | fields
    made = Calendar(name="shut", tenant="t", weekdays=weekdays, created_at=MARCH, updated_at=MARCH, **told)
    return Seen(made, "0:1-1")


def test_what_a_calendar_excludes_is_shown_with_its_name_and_a_long_span_is_passed_over_in_one_step():
    weekend = {"shut": a_calendar("sat", "sun")}
    named = {"timezone": "Europe/Berlin", "exclude_calendars": ("shut",)}
    daily = Schedule(cron_expression="0 9 * * *", **named)
    friday = datetime(2026, 12, 4, 12, tzinfo=UTC)
    found, dropped = seen(planned(daily, friday, anchor_at=friday, calendars=weekend), 1)
    assert [each.local_time[:10] for each in found] == ["2026-12-07"]
    assert [(each.local_time[:10], each.reason, each.by) for each in dropped] == [
        ("2026-12-05", "calendar", "shut"),
        ("2026-12-06", "calendar", "shut"),
    ]
    each_second = Schedule(interval_seconds=1, **named)
    evening = datetime(2026, 12, 4, 22, 59, 59, tzinfo=UTC)
    found, dropped = seen(planned(each_second, evening, anchor_at=evening, calendars=weekend), 2)
    assert [each.local_time for each in found] == ["2026-12-07T00:00:00+01:00", "2026-12-07T00:00:01+01:00"]
    assert len(dropped) == EXCLUDED_SHOWN


# Of a job.

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def a_job(made_at=NOW, /, **fields):
    """A job as it stands after its creation."""
    command = CreateJob(job_id=a_job_id(), spec=a_spec(**fields), owner="o", tenant="t")
    (created,) = decide(None, command, made_at).changes
    return evolve(None, created)


def coming(job, count=3, **asked):
    found, _ = seen(upcoming(job, **{"now": NOW} | asked), count)
    return [(each.at - NOW).total_seconds() for each in found]


def test_a_jobs_undecided_occurrence_comes_first_even_if_it_is_overdue():
    job = a_job(NOW - timedelta(seconds=100), every=40)
    assert coming(job) == [-60, -20, 20]
    assert coming(job, since=NOW) == [20, 60, 100]
    assert coming(job, since=NOW - timedelta(seconds=60)) == [-20, 20, 60]


def test_of_a_paused_job_only_what_falls_due_after_its_pause_would_run():
    job = replace(a_job(NOW - timedelta(seconds=100), every=40), status=Status.PAUSED)
    assert coming(job) == [20, 60, 100]
    assert coming(job, since=NOW + timedelta(seconds=20)) == [60, 100, 140]
    early = replace(a_job(every=40), status=Status.PAUSED)
    assert coming(early) == [40, 80, 120]


def test_what_max_runs_leaves_is_counted_from_the_next_occurrence_wherever_one_looks():
    job = replace(a_job(every=40, max_runs=5), runs=2)
    assert coming(job, 9) == [40, 80, 120]
    assert coming(job, 9, since=NOW + timedelta(seconds=80)) == [120]
    assert coming(job, 9, since=NOW + timedelta(seconds=120)) == []
    with pytest.raises(TooFar):
        coming(a_job(every=1, max_runs=10**6), since=NOW + timedelta(days=1))


def test_a_job_without_an_occurrence_has_none_to_come():
    assert coming(a_job()) == []
    assert coming(replace(a_job(every=40), status=Status.COMPLETED, next_for=None)) == []


def test_what_is_left_out_before_the_next_occurrence_is_told_from_what_was_decided_on():
    made_at = datetime(2026, 10, 24, 12, tzinfo=UTC)
    job = a_job(made_at, cron="30 2 * * *", timezone="Europe/Berlin")
    first, second = (datetime(2026, 10, day, hour, 30, tzinfo=UTC) for day, hour in ((25, 0), (26, 1)))
    decided = replace(job, decided_to=first, next_for=second)
    _, dropped = seen(upcoming(decided, now=first), 1)
    assert [(each.local_time, each.reason) for each in dropped] == [
        ("2026-10-25T02:30:00+01:00", "overlap_first")
    ]


def test_what_somebody_wants_skipped_is_left_out_and_is_none_of_max_runs():
    job = a_job(every=40, max_runs=3)
    second = Skip(scheduled_for=NOW + timedelta(seconds=80), by="ann", reason="", at=NOW)
    skipping = replace(job, skipped=(second,))
    found, dropped = seen(upcoming(skipping, now=NOW), 9)
    assert [(each.at - NOW).total_seconds() for each in found] == [40, 120, 160]
    assert [(each.at, each.reason, each.by) for each in dropped] == [(second.scheduled_for, "skipped", "ann")]
    assert coming(skipping, 9, since=NOW + timedelta(seconds=100)) == [120, 160]


def test_what_a_calendar_excludes_is_none_of_max_runs():
    job = replace(a_job(every=43_200, max_runs=3), status=Status.PENDING)
    job = replace(
        job, spec=replace(job.spec, schedule=replace(job.spec.schedule, exclude_calendars=("shut",)))
    )
    tuesday = {"shut": a_calendar("tue")}  # NOW is a Monday's noon
    assert coming(job, 9, calendars=tuesday) == [43_200 * n for n in (3, 4, 5)]
    later = NOW + timedelta(seconds=43_200 * 3)
    assert coming(job, 9, since=later, calendars=tuesday) == [43_200 * n for n in (4, 5)]


def test_of_an_occurrence_that_was_announced_it_is_told_when_that_fires():
    job = replace(a_job(every=40), next_fires_at=NOW + timedelta(seconds=47))
    found, _ = seen(upcoming(job, now=NOW), 2)
    assert [(each.fires_at - NOW).total_seconds() for each in found] == [47, 80]
