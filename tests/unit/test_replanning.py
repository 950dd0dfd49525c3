"""What newer zone tables do to what a job has announced."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain import deciding, ids, job
from shared.domain.commands import CreateJob, DeleteJob, PauseJob, ReplanJob, SkipOccurrence, UpdateJob, Wake
from shared.domain.events import JobCompleted, OccurrencesSkipped, RunRequested, ScheduleReplanned
from shared.domain.exclude import Span
from shared.domain.replanning import has_moved
from shared.domain.zones import is_newer, tables_version
from shared.testing import a_spec
from tests.zone_tables import WITHOUT_DST, tables

JUNE = datetime(2026, 6, 10, 12, tzinfo=UTC)
NIGHT = datetime(2026, 6, 11, 0, 30, tzinfo=UTC)  # 02:30 in Berlin
HOUR = timedelta(hours=1)
JOB = ids.chance_id(JUNE, 0, 7)
REPLAN = ReplanJob(tables="2026.7", before="2026.6")


def fold(state, changes):
    for change in changes:
        if f"job:{JOB}" in change.advances:
            state = job.evolve(state, change)
    return state


def when(state, command, now):
    decision = deciding.decide(state, command, now)
    assert decision.settled
    return [change.event for change in decision.changes], fold(state, decision.changes)


def a_job(now=JUNE, **spec):
    spec = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"} | spec
    command = CreateJob(job_id=JOB, spec=a_spec(**spec), owner="ann", tenant="t")
    return when(None, command, now)[1]


def test_a_country_gives_up_its_summer_time_and_the_job_moves():
    state = a_job()
    assert state.next_for == NIGHT
    with tables(WITHOUT_DST):
        assert has_moved(state, JUNE)
        (event,), after = when(state, REPLAN, JUNE)
        assert when(after, REPLAN, JUNE)[0] == []
    assert event == ScheduleReplanned(
        from_="2026.6", to="2026.7", was_for=NIGHT, next_for=NIGHT + HOUR, replanned_at=JUNE
    )
    assert (after.next_for, after.due_at, after.revision) == (NIGHT + HOUR, NIGHT + HOUR, 1)


@pytest.mark.parametrize(
    "spec",
    [
        {},  # the tables are as they were
        {"timezone": "UTC"},
        {"timezone": "America/New_York"},
        {"cron": "30 2 1 12 *"},  # winter
        {"cron": None, "every": 3600},
        {"cron": None, "once": NIGHT},
        {"cron": None},
    ],
    ids=str,
)
def test_what_does_not_move_has_no_event(spec):
    state = a_job(**spec)
    with tables(WITHOUT_DST if spec else {}):
        assert when(state, REPLAN, JUNE) == ([], state)


@pytest.mark.parametrize(("policy", "decided"), [("skip", OccurrencesSkipped), ("latest", RunRequested)])
def test_a_time_that_has_passed_by_the_new_tables_is_decided_as_any_that_is_late(policy, decided):
    state, now = a_job(misfire_policy=policy), NIGHT - HOUR / 2
    with tables({"Europe/Berlin": "Etc/GMT-3"}):
        (moved,), state = when(state, REPLAN, now)
        (event,), after = when(state, Wake(), now)
    assert (moved.next_for, state.due_at) == (NIGHT - HOUR, NIGHT - HOUR)
    assert isinstance(event, decided)
    assert (after.decided_to, after.next_for) == (NIGHT - HOUR, NIGHT + 23 * HOUR)


def test_nothing_that_was_decided_is_decided_again():
    state = when(a_job(), Wake(), NIGHT)[1]
    with tables({"Europe/Berlin": "Etc/GMT-3"}):
        (event,), after = when(state, REPLAN, NIGHT)
    assert event.next_for == after.next_for == NIGHT + 23 * HOUR
    assert after.decided_to == NIGHT


def test_what_is_due_is_decided_as_it_was_announced():
    state = a_job()
    with tables(WITHOUT_DST):
        (run,), after = when(state, REPLAN, NIGHT)
    assert (type(run), run.scheduled_for) == (RunRequested, NIGHT)
    assert after.next_for == NIGHT + HOUR  # 02:30 comes again, now that it is an hour later


def test_a_paused_job_moves_too_and_stays_paused():
    state = when(a_job(), PauseJob(by="ann"), JUNE)[1]
    with tables(WITHOUT_DST):
        (event,), after = when(state, REPLAN, JUNE)
    assert isinstance(event, ScheduleReplanned)
    assert (after.status, after.next_for, after.due_at) == (job.Status.PAUSED, NIGHT + HOUR, None)


def test_what_fell_due_in_a_pause_is_left_to_its_end():
    state = when(a_job(), PauseJob(by="ann"), JUNE)[1]
    with tables(WITHOUT_DST):
        assert when(state, REPLAN, NIGHT + HOUR) == ([], state)


def test_a_job_whose_last_occurrence_moves_out_of_its_window_is_completed():
    state = a_job(end_at=NIGHT + HOUR / 2)
    with tables(WITHOUT_DST):
        events, after = when(state, REPLAN, JUNE)
    assert [type(event) for event in events] == [ScheduleReplanned, JobCompleted]
    assert (after.status, after.next_for) == (job.Status.COMPLETED, None)


def test_a_deleted_job_is_refused_and_no_concern_of_anybody():
    state = when(a_job(), DeleteJob(by="ann"), JUNE)[1]
    with tables(WITHOUT_DST):
        assert not has_moved(state, JUNE)


def test_what_somebody_wanted_skipped_is_skipped_at_its_new_time():
    state = when(a_job(), SkipOccurrence(scheduled_for=NIGHT, by="ann", reason="x"), JUNE)[1]
    with tables(WITHOUT_DST):
        (event,), after = when(state, REPLAN, JUNE)
        (skipped,), _ = when(after, Wake(), NIGHT + HOUR)
    assert (event.next_run_at, after.next_run_time) == (NIGHT + 25 * HOUR, NIGHT + 25 * HOUR)
    assert (skipped.reason, skipped.from_, skipped.by) == ("excluded", NIGHT + HOUR, "ann")


def test_an_interval_moves_where_days_are_excluded_in_a_zone():
    """23:30 UTC is in Berlin the next day in summer, and in winter, too: but not 22:30."""
    day = Span(from_=datetime(2026, 6, 10, tzinfo=UTC).date(), to=datetime(2026, 6, 10, tzinfo=UTC).date())
    state = a_job(JUNE - timedelta(minutes=30), cron=None, every=3600, exclude=(day,))
    assert state.next_for == datetime(2026, 6, 10, 22, 30, tzinfo=UTC)
    with tables(WITHOUT_DST):
        (event,), _ = when(state, REPLAN, JUNE)
    assert event.next_for == state.next_for + HOUR


def test_an_edit_that_keeps_an_intervals_phase_is_not_planned_from_before_it():
    made = JUNE - 5 * HOUR
    day = Span(from_=JUNE.date(), to=JUNE.date())
    state = a_job(made, cron=None, every=3600, exclude=(day,))
    spec = a_spec(every=3600, timezone="Europe/Berlin")
    _, state = when(state, UpdateJob(spec=spec), JUNE + HOUR / 2)
    assert state.anchor_at == made
    with tables(WITHOUT_DST):
        assert when(state, REPLAN, JUNE + HOUR / 2) == ([], state)


def test_versions_are_compared_as_numbers():
    assert [is_newer(*pair) for pair in (("2026.10", "2026.9"), ("2026.1", "2026.1"), ("2025.3", "2026.1"))] == [
        True, False, False,
    ]  # fmt: skip
    assert is_newer(tables_version(), "2024.1")
