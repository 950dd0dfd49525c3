"""What a schedule comes to, as it is shown to people: each row is a promise about one change of the clocks."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from msgspec.structs import replace

from shared.domain.commands import CreateJob
from shared.domain.deciding import decide
from shared.domain.job import Status, evolve
from shared.domain.preview import TooFar, planned, upcoming
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


# Of a job.

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def a_job(made_at=NOW, /, **fields):
    """A job as it stands after its creation."""
    command = CreateJob(job_id=a_job_id(), spec=a_spec(**fields), owner="o", tenant="t")
    (created,) = decide(None, command, made_at).changes
    return evolve(None, created)


def coming(job, count=3, **asked):
    found = (each for each in upcoming(job, **{"now": NOW} | asked) if each is not None)
    return [(each.at - NOW).total_seconds() for each in islice(found, count)]


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
    (told,) = islice(upcoming(decided, now=first), 1)
    assert [(each.local_time, each.rule) for each in told.dropped] == [
        ("2026-10-25T02:30:00+01:00", "overlap_first")
    ]
