"""What calendars exclude from a job's occurrences, at its wake."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import calendars, deciding, ids, job, kinds
from shared.domain.calendar import Calendar
from shared.domain.calendars import Seen
from shared.domain.commands import (
    CreateJob,
    DeleteJob,
    PauseJob,
    ResumeJob,
    SkipOccurrence,
    SuspendJob,
    UpdateJob,
    Wake,
)
from shared.domain.events import JobUpdated, OccurrencesSkipped, RunRequested
from shared.domain.exclude import Span
from shared.domain.refusals import UnknownCalendars
from shared.domain.schedule import next_after
from shared.domain.weekdays import WEEKDAYS
from shared.testing import a_spec

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
DAY = timedelta(days=1)
JOB = ids.chance_id(MONDAY, 0, 3)


def days(first, last=None):
    return Span(from_=first, to=last or first)


def a_calendar(*dates, weekdays=(), timezone=None, deleted=False):
    return Calendar(
        name="c",
        tenant="t",
        revision=1,
        description="",
        dates=dates,
        weekdays=weekdays,
        timezone=timezone,
        created_at=MONDAY,
        updated_at=MONDAY,
        by="ann",
        deleted=deleted,
    )


def seen(**named):
    return {
        name: Seen(state, "" if state is None else f"1:5-{number}")
        for number, (name, state) in enumerate(named.items(), 1)
    }


def when(state, command, now, **named):
    decision = deciding.decide(state, command, now, calendars=seen(**named))
    for change in decision.changes:
        if f"job:{JOB}" in change.advances:
            state = job.evolve(state, change)
    return [change.event for change in decision.changes], state


def a_job(*names, now=MONDAY, **spec):
    spec = {"cron": "0 9 * * *", "overlap_policy": "allow"} | spec
    spec = a_spec(exclude_calendars=names, **spec)
    command = CreateJob(job_id=JOB, spec=spec, owner="ann", tenant="t")
    return when(None, command, now, **dict.fromkeys(names, a_calendar()))[1]


def told(events):
    return [
        ("run", event.scheduled_for.day, event.calendars)
        if isinstance(event, RunRequested)
        else (event.reason, event.from_.day, event.to.day, event.count, event.by)
        for event in events
    ]


def test_what_a_calendar_excludes_is_skipped_at_the_wake_and_which_one_said_so_is_told():
    state = a_job("fire", "feasts", misfire_grace_seconds=86_400 * 30, misfire_policy="latest")
    feasts = a_calendar(days(date(2026, 11, 24), date(2026, 11, 25)), days(date(2026, 11, 28)))
    events, after = when(
        state, Wake(), MONDAY + 6 * DAY - DAY / 2, fire=a_calendar(days(date(2026, 11, 26))), feasts=feasts
    )
    passed = ("fire@1:5-1", "feasts@1:5-2")
    assert told(events) == [
        ("run", 23, passed),
        ("calendar", 24, 25, 2, "feasts@1:5-2"),
        ("calendar", 26, 26, 1, "fire@1:5-1"),
        ("run", 27, passed),
        ("calendar", 28, 28, 1, "feasts@1:5-2"),
    ]
    assert after.next_for == MONDAY + 6 * DAY + timedelta(hours=9)
    assert after.runs == 2


def test_nothing_is_announced_otherwise_because_of_a_calendar():
    state = a_job("feasts")
    assert state.next_for == MONDAY + timedelta(hours=9)


def test_it_goes_by_the_calendar_as_it_is_when_the_time_has_come():
    state, now = a_job("feasts"), MONDAY + timedelta(hours=9)
    for feasts, reason in ((a_calendar(), None), (a_calendar(days(MONDAY.date())), "calendar")):
        (event,), _ = when(state, Wake(), now, feasts=feasts)
        assert getattr(event, "reason", None) == reason


def test_where_there_is_no_calendar_nothing_is_excluded_and_the_run_says_so():
    state, now = a_job("feasts", "fire"), MONDAY + timedelta(hours=9)
    gone = a_calendar(days(MONDAY.date()), deleted=True)
    (event,), _ = when(state, Wake(), now, feasts=gone, fire=None)
    assert told([event]) == [("run", 23, ("feasts@none", "fire@none"))]


def test_a_job_without_calendars_says_nothing_of_them():
    (event,), _ = when(a_job(), Wake(), MONDAY + timedelta(hours=9))
    assert event.calendars == ()


def test_days_of_the_week_are_excluded_every_week():
    state = a_job("weekend", misfire_policy="all")
    events, _ = when(state, Wake(), MONDAY + 8 * DAY - DAY / 2, weekend=a_calendar(weekdays=("sat", "sun")))
    assert [each[:3] for each in told(events) if each[0] == "calendar"] == [("calendar", 28, 29)]
    assert [each[1] for each in told(events) if each[0] == "run"] == [23, 24, 25, 26, 27, 30]


def test_days_are_those_of_the_calendars_zone_else_of_the_jobs():
    """Monday 09:00 in UTC is Monday in Kiritimati, too, and 15:00 is Tuesday there already."""
    tuesday = days(date(2026, 11, 24))
    now = MONDAY + timedelta(hours=15)
    for own, of_calendar, excluded in (
        ("UTC", None, False),
        ("UTC", "Pacific/Kiritimati", True),
        ("Pacific/Kiritimati", None, True),
        ("Pacific/Kiritimati", "UTC", False),
    ):
        state = a_job("feasts", cron=None, once=now, timezone=own)
        events, _ = when(state, Wake(), now, feasts=a_calendar(tuesday, timezone=of_calendar))
        assert isinstance(events[0], OccurrencesSkipped) is excluded


def test_what_is_excluded_is_no_misfire_and_the_newest_of_the_others_runs():
    state = a_job("feasts")  # latest
    events, _ = when(state, Wake(), MONDAY + 3 * DAY - DAY / 4, feasts=a_calendar(days(date(2026, 11, 25))))
    assert [each[:2] for each in told(events)] == [("misfire", 23), ("run", 24), ("calendar", 25)]


@pytest.mark.parametrize(
    ("until", "newest"),
    [
        (datetime(2026, 11, 28, 18, tzinfo=UTC), datetime(2026, 11, 27, 23, 59, tzinfo=UTC)),
        (datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("paused", [False, True])
def test_the_newest_that_is_not_excluded_runs_however_many_units_of_excluded_ones_come_after_it(
    until, newest, paused
):
    friday = datetime(2026, 11, 27, tzinfo=UTC)
    state = a_job("weekend", cron="* * * * *", now=friday)
    weekend = a_calendar(weekdays=("sat", "sun"))
    if paused:
        pause = PauseJob(by="ann", reason="", until=until, catch_up="latest")
        _, state = when(state, pause, friday, weekend=weekend)
    events = []
    while state.due_at is not None and state.due_at <= until:
        told_now, state = when(state, Wake(), until, weekend=weekend)
        events += told_now
    assert [event.scheduled_for for event in events if isinstance(event, RunRequested)] == [newest]


def test_who_skips_by_hand_comes_before_calendars():
    at = MONDAY + timedelta(hours=9)
    _, state = when(a_job("feasts"), SkipOccurrence(scheduled_for=at, by="bob", reason=""), MONDAY)
    (event,), _ = when(state, Wake(), at, feasts=a_calendar(days(at.date())))
    assert (event.reason, event.by) == ("excluded", "bob")


@pytest.mark.parametrize(
    "command", [DeleteJob(by="ann"), PauseJob(by="ann")], ids=lambda each: type(each).__name__
)
def test_every_command_settles_by_them(command):
    events, _ = when(
        a_job("feasts"), command, MONDAY + timedelta(hours=9), feasts=a_calendar(days(MONDAY.date()))
    )
    assert told(events[:1]) == [("calendar", 23, 23, 1, "feasts@1:5-1")]


def test_a_job_may_not_begin_to_name_what_is_not_there():
    def of(*names):
        return a_spec(cron="0 9 * * *", exclude_calendars=names)

    create = CreateJob(job_id=JOB, spec=of("a", "b", "c"), owner="ann", tenant="t")
    with pytest.raises(UnknownCalendars) as refused:
        when(None, create, MONDAY, a=a_calendar(), b=None, c=a_calendar(deleted=True))
    assert refused.value.missing == ((1, "b"), (2, "c"))
    state = a_job("a")
    with pytest.raises(UnknownCalendars):
        when(state, UpdateJob(spec=of("a", "b")), MONDAY, a=a_calendar(), b=None)
    (event,), _ = when(state, UpdateJob(spec=a_spec(exclude_calendars=("a",))), MONDAY, a=None)
    assert isinstance(event, JobUpdated)  # it has gone since; that keeps nobody from changing something else


def test_a_decision_looks_at_what_the_job_names_and_is_to_name_and_at_nothing_else():
    state = a_job("a", "b")
    create = CreateJob(job_id=JOB, spec=a_spec(exclude_calendars=("x",)), owner="ann", tenant="u")
    refs = [
        kinds.JOB.reads(before, command)
        for before, command in (
            (state, Wake()),
            (state, ResumeJob(by="ann")),
            (state, UpdateJob(spec=a_spec(exclude_calendars=("b", "c")))),
            (state, SuspendJob(by="x", reason="")),
            (a_job(), DeleteJob(by="ann")),
            (None, create),
            (None, PauseJob(by="ann")),
        )
    ]
    assert refs == [
        ("calendar:t:a", "calendar:t:b"),
        ("calendar:t:a", "calendar:t:b"),
        ("calendar:t:a", "calendar:t:b", "calendar:t:c"),
        (),
        (),
        ("calendar:u:x",),
        (),
    ]


_dates = st.dates(date(2026, 11, 20), date(2026, 12, 20))
_spans = st.builds(lambda one, two: days(min(one, two), max(one, two)), _dates, _dates)
_calendars = st.builds(
    lambda dates, weekdays, timezone: a_calendar(*dates, weekdays=tuple(weekdays), timezone=timezone),
    st.lists(_spans, max_size=2),
    st.sets(st.sampled_from(WEEKDAYS), max_size=2),
    st.sampled_from([None, "UTC", "Asia/Kolkata", "Pacific/Apia"]),
)


@given(
    held=st.lists(_calendars, min_size=1, max_size=3),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    every_h=st.integers(1, 30),
)
@settings(max_examples=25, deadline=None)
def test_what_runs_is_what_the_schedule_has_without_what_calendars_exclude(held, timezone, every_h):
    named = {f"c{number}": each for number, each in enumerate(held)}
    state = a_job(*named, cron=None, every=every_h * 3600, timezone=timezone, misfire_grace_seconds=86_400)
    expected, at = [], state.next_for
    until = MONDAY + 30 * DAY
    while at <= until:
        if not any(_excludes(each, at, timezone) for each in held):
            expected.append(at)
        at = next_after(state.spec.schedule, at, anchor_at=state.anchor_at)
    ran, skipped, now = [], 0, MONDAY
    while now < until:
        now = min(until, now + 11 * timedelta(hours=1))
        events, state = when(state, Wake(), now, **named)
        ran += [event.scheduled_for for event in events if isinstance(event, RunRequested)]
        skipped += sum(event.count for event in events if isinstance(event, OccurrencesSkipped))
        assert {event.reason for event in events if isinstance(event, OccurrencesSkipped)} <= {"calendar"}
    assert ran == expected
    total = 30 * 24 // every_h
    assert len(ran) + skipped == total


def _excludes(held, at, timezone):
    """As somebody with the calendar on the wall would say it."""
    day = at.astimezone(ZoneInfo(held.timezone or timezone)).date()
    by_date = any(span.from_ <= day <= span.to for span in held.dates)
    return by_date or day.strftime("%a").lower() in held.weekdays


@given(held=_calendars, at=st.integers(-4 * 1440, 29 * 1440).map(lambda m: MONDAY + timedelta(minutes=m)))
@settings(max_examples=60, deadline=None)
def test_until_is_where_a_calendar_excludes_no_more(held, at):
    end = calendars.until(held, at, "Europe/Berlin")
    assert (end is not None) == _excludes(held, at, "Europe/Berlin")
    if end is not None:
        assert not _excludes(held, end, "Europe/Berlin")
        step = (end - at) / 7
        assert all(_excludes(held, at + number * step, "Europe/Berlin") for number in range(7))
        assert _excludes(held, end - timedelta(microseconds=1), "Europe/Berlin")


def test_a_deleted_calendar_excludes_nothing():
    assert calendars.until(a_calendar(deleted=True), MONDAY, "UTC") is None
