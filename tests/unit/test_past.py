"""What should have run and did not, against a walk over every second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.domain import deciding, job, past
from shared.domain.commands import CreateJob, PauseJob, Wake
from shared.domain.past import Ran, Range
from shared.testing import NOON, a_job_id, a_spec, at

BAD = ("failed", "cancelled", "expired")
STATUSES = ("succeeded", *BAD, "running", "queued")


def a_job(**spec):
    command = CreateJob(job_id=a_job_id(), spec=a_spec(**spec), owner="ann", tenant="t")
    return fold(None, deciding.decide(None, command, NOON))


def fold(state, decision):
    for change in decision.changes:
        state = job.evolve(state, change)
    return state


def times(state, since, until):
    return [(each - NOON).total_seconds() for each in past.gone_by(state, at(since), at(until))]


def test_the_span_has_its_beginning_and_not_its_end():
    state = replace(a_job(every=10), next_for=at(100))
    assert times(state, 10, 40) == [10, 20, 30]
    assert times(state, 9.999, 40.001) == [10, 20, 30, 40]
    assert times(state, 30, 30) == []


def test_what_a_cron_expression_names_counts_also_before_the_job_was_there():
    assert times(a_job(cron="*/20 * * * * *"), -60, 0) == [-60, -40, -20]


def test_an_interval_begins_with_its_anchor():
    assert times(replace(a_job(every=10), next_for=at(50)), -60, 60) == [10, 20, 30, 40]


def test_what_the_schedule_is_still_to_decide_is_its_own():
    state = a_job(every=10)
    assert times(state, 0, 100) == []
    assert times(fold(state, deciding.decide(state, Wake(), at(35))), 0, 100) == [10, 20, 30]


def test_a_paused_job_has_passed_over_what_fell_due():
    state = a_job(every=10)
    state = fold(state, deciding.decide(state, PauseJob(by="ann"), at(15)))
    assert times(state, 0, 45) == [10, 20, 30, 40]


def test_windows_and_the_last_of_so_many_runs_bound_it():
    state = a_job(cron="*/10 * * * * *", start_at=at(15), end_at=at(40))
    assert times(replace(state, next_for=None), 0, 100) == [20, 30, 40]
    state = a_job(every=10, max_runs=2, misfire_policy="all", overlap_policy="allow")
    state = fold(state, deciding.decide(state, Wake(), at(55)))
    assert times(state, 0, 60) == [10, 20]


def test_a_job_without_a_schedule_owes_nothing():
    assert times(a_job(), -1000, 1000) == []


def asked(*runs):
    """What the ledger makes of an occurrence's runs, in the order in which they were asked for; None of none."""
    return Ran(runs[-1], any(each in {"running", "queued"} for each in runs)) if runs else None


def brute_force(which, runs):
    """Read off the words of the design, one by one."""
    if which == "missing":
        return not runs
    if which == "failed":
        ends = [each for each in runs if each not in {"running", "queued"}]
        return bool(runs) and len(ends) == len(runs) and runs[-1] in BAD
    return True


@given(
    st.integers(1, 90),
    st.integers(-300, 300),
    st.integers(0, 400),
    st.data(),
    st.sampled_from(["missing", "failed", "all"]),
)
def test_the_difference_is_what_looking_at_every_second_finds(step, begin, length, data, which):
    state = replace(a_job(cron=f"*/{min(step, 59)} * * * * *"), next_for=at(10_000))
    end = begin + length
    seconds = [second for second in range(begin, end) if at(second).second % min(step, 59) == 0]
    ran = {
        at(second): data.draw(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=3))
        for second in data.draw(st.sets(st.sampled_from(seconds or [0])))
    }
    cut = sorted(data.draw(st.tuples(st.integers(begin, end), st.integers(begin, end))))
    expected = [
        at(second)
        for second in seconds
        if brute_force(which, ran.get(at(second), []))
        and (at(second) in ran or not cut[0] <= second <= cut[1])
    ]
    found = past.owed(
        which,
        past.gone_by(state, at(begin), at(end)),
        {when: asked(*runs) for when, runs in ran.items()},
        [Range(at(cut[0]), at(cut[1]))],
    )
    assert expected == found


@pytest.mark.parametrize(
    ("runs", "which"),
    [
        ((), {"missing", "all"}),
        (("succeeded",), {"all"}),
        (("failed",), {"failed", "all"}),
        (("expired",), {"failed", "all"}),
        (("cancelled",), {"failed", "all"}),
        (("failed", "succeeded"), {"all"}),
        (("succeeded", "failed"), {"failed", "all"}),
        (("failed", "running"), {"all"}),
        (("queued",), {"all"}),
    ],
)
def test_which_there_are(runs, which):
    ran = {NOON: asked(*runs)} if runs else {}
    assert which == {each for each in ("missing", "failed", "all") if past.owed(each, [NOON], ran)}


def test_what_was_not_to_run_is_not_missing_unless_somebody_has_run_it():
    hour = [at(0), at(60), at(120)]
    cut = [Range(at(50), at(120))]
    assert [at(0)] == past.owed("missing", hour, {}, cut)
    assert [at(0), at(120)] == past.owed("all", hour, {at(120): Ran("failed", False)}, cut)
