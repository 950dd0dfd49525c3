"""Explanations, as far as they are pure: codes, words, times, and what the log's silence means."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.api.explaining import absence, silence
from services.api.explaining.codes import MEANINGS, Code
from services.api.explaining.finding import Words, lasting, quoted
from services.api.explaining.run import waits
from services.api.explaining.steps import said_of
from shared.domain import ids
from shared.domain.events import (
    Failure,
    RunHeld,
    RunLost,
    RunQueued,
    RunRequested,
    RunStarted,
    RunSucceeded,
    SkipReason,
)
from shared.domain.schedule import Schedule, next_after
from shared.domain.spec import run_spec
from shared.eventlog.envelope import Recorded, encode
from shared.eventlog.position import Position
from shared.testing import NOON, a_spec, at

PROVEN = Path(__file__).parents[1] / "integration"


def recorded(event, pos, seconds=0.0, actor="timer", subject="run/r"):
    return Recorded(
        0, Position(1, pos), f"id-{pos}", type(event).__name__, event.VERSION, subject, "j", "subject",
        ids.to_ms(at(seconds)), actor, "", "", "", encode(event),
    )  # fmt: skip


def requested(pos=1, seconds=0.0, **changes):
    told = {
        "job_id": "j", "scheduled_for": at(seconds), "fires_at": at(seconds), "trigger": "schedule", "revision": 1,
        "spec": run_spec(a_spec(), tenant="t"), "follows": False, "correlation_id": "c", "requested_at": at(seconds),
    }  # fmt: skip
    return recorded(RunRequested(**told | changes), pos, seconds)


def test_each_code_has_a_meaning_and_is_provoked_on_real_servers():
    assert list(MEANINGS) == list(Code)
    text = "".join(path.read_text() for path in PROVEN.glob("test_*explain*.py"))
    asserted = set(re.findall(r"(?:says|of)\(\s*Code\.(\w+)", text))
    assert {code.name for code in Code} - asserted == set()


def test_each_reason_of_a_skip_has_a_code_of_its_own():
    words = {"excluded": "skipped_by_hand", "paused": "pause_skipped"}
    assert {words.get(each, each) for each in SkipReason.__args__} <= {code.value for code in Code}


def test_times_are_told_in_the_jobs_zone_with_the_date_where_it_is_another_days():
    near = datetime(2026, 3, 29, 1, tzinfo=UTC)
    words = Words("Europe/Berlin", near)
    assert words.whole(near) == "2026-03-29 03:00 Europe/Berlin (01:00 UTC)"
    assert words.whole(near + timedelta(hours=22)) == "2026-03-30 01:00 Europe/Berlin (2026-03-29 23:00 UTC)"
    assert words.brief(near + timedelta(milliseconds=12)) == "03:00:00.012"
    assert words.brief(near + timedelta(hours=21, seconds=5)) == "2026-03-30 00:00:05"
    assert words.local(near) == "2026-03-29T03:00:00+02:00"
    assert Words("Mars/Olympus", near).whole(near) == "2026-03-29 01:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0.4 s"),
        (9.96, "9.96 s"),
        (72, "72 s"),
        (600, "10 min"),
        (4_320, "1 h 12 min"),
        (180_000, "2 d 2 h"),
    ],
)
def test_spans_are_told_as_people_say_them(seconds, said):
    assert lasting(seconds) == said


def test_a_message_that_is_sealed_is_not_told():
    assert said_of(Failure(class_="OSError", message="ouch")) == "OSError: ouch"
    for sealed in ('{"$personal":"AXc"}', '{"$erased":true}', ""):
        assert said_of(Failure(class_="OSError", message=sealed)) == "OSError"


def quiet(decided=None, before=None, after=None, until=100.0):
    told = silence.Silence(NOON, decided, before, after, (), at(until))
    return [
        (each.code, [event.id for event in each.events]) for each in silence.told(told, Words("UTC", NOON))
    ]


def test_a_decision_in_time_leaves_nothing_to_be_told():
    in_time = requested(3, 4.9)
    assert quiet(in_time, after=in_time) == []
    assert quiet(until=4.9) == []


def test_no_timer_is_told_from_the_events_around_the_time_at_which_it_was_due():
    before, late = requested(2, -60), requested(3, 60)
    assert quiet(late, before, late) == [(Code.NO_TIMER, ["id-2", "id-3"])]
    assert quiet(None, before, None) == [(Code.NO_TIMER, ["id-2"])]
    assert quiet(late, None, late) == [(Code.NO_TIMER, ["id-3"])]


def test_whoever_decides_in_a_timers_place_ends_the_silence():
    before, edited = requested(2, -60), recorded(RunLost(attempt=1, worker="w"), 3, 60, actor="ann")
    (finding,) = silence.told(silence.Silence(NOON, edited, before, None, (), at(900)), Words("UTC", NOON))
    assert [each.id for each in finding.events] == ["id-2", "id-3"]
    assert finding.details["to"] == at(60)
    assert "to 12:01, when a command of ann decided it" in finding.sentence


def test_a_timer_that_was_at_work_is_not_said_to_have_been_away():
    before, soon, late = requested(2, -60), requested(3, 1), requested(9, 60)
    assert quiet(late, before, soon) == [(Code.DECIDED_LATE, ["id-3", "id-9"])]


def test_the_stays_of_a_run_in_work_streams_are_those_between_its_events():
    events = [
        requested(1),
        recorded(RunHeld(reason="rate", key="k", until=NOON, since=NOON), 2),
        recorded(RunQueued(queue="q", priority=5, reason="released"), 3),
        recorded(RunStarted(attempt=1, worker="w"), 4),
        recorded(RunLost(attempt=1, worker="w"), 5),
        recorded(RunQueued(queue="q", priority=5, reason="lost"), 6),
    ]
    stays = [(each.queued.position.pos, each.left and each.left.position.pos) for each in waits(events)]
    assert stays == [(1, 2), (3, 4), (6, None)]
    assert waits([requested(1, held=True)]) == []
    ended = waits([requested(1), recorded(RunSucceeded(attempt=0), 2)])
    assert [(each.queued.position.pos, each.left.position.pos) for each in ended] == [(1, 2)]


DAILY = Schedule(cron_expression="30 2 * * *", timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("written", "is_left_out"),
    [
        ("2026-03-29T02:30:00+01:00", True),
        ("2026-03-29T02:30:00+02:00", True),
        ("2026-03-29T02:45:00+01:00", False),  # no time of the expression
        ("2026-03-29T03:30:00+02:00", False),  # a time that there was
        ("2026-03-29T02:30:00Z", False),  # an instant, whatever clocks in Berlin read then
        ("2026-03-28T02:30:00+01:00", False),
    ],
)
def test_a_time_of_day_that_the_clock_left_out_is_known_by_how_it_was_written(written, is_left_out):
    asked = absence.asked_of(datetime.fromisoformat(written))
    assert (absence.left_out_by_the_clock(asked, DAILY) is not None) == is_left_out


@pytest.mark.parametrize(
    "schedule",
    [
        DAILY,
        Schedule(cron_expression="0 0 29 2 *"),
        Schedule(interval_seconds=7),
        Schedule(cron_expression="* * * * *"),
    ],
)
def test_the_last_occurrence_before_a_time_is_the_one_that_no_other_follows(schedule):
    for n in range(5):
        moment = NOON + n * timedelta(hours=7, seconds=1)
        found = absence.last_before(schedule, moment, NOON - timedelta(days=1))
        assert found is not None
        assert found < moment
        following = next_after(schedule, found, anchor_at=NOON - timedelta(days=1))
        assert following is None or following >= moment


def test_there_is_none_before_the_first():
    assert absence.last_before(Schedule(interval_seconds=7), NOON, NOON) is None
    assert absence.last_before(Schedule(run_at=NOON), NOON, NOON) is None


def test_what_somebody_wrote_stays_on_one_line_of_a_sentence():
    assert quoted("a move\n\tof house ") == ' "a move of house"'
    assert said_of(Failure(class_="E", message="one\r\ntwo")) == "E: one two"
    assert quoted("x" * 300) == f' "{"x" * 300}"'
    assert quoted("x" * 301) == f' "{"x" * 299}…"'
    assert quoted("") == ""
