"""`H`: drawn once for a job, the same for ever, and spread over jobs."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.cron import BadCron, parse
from shared.domain.cron_hash import expanded, has_hash

SEED = "01a20ad0-3484-8003-875b-32a60b7402cd"


@pytest.mark.parametrize(
    ("expression", "drawn"),
    [  # kept in events for ever: whoever changes one of these moves jobs of people
        ("H H * * *", "56 0 * * *"),
        ("h 0 H H H", "56 0 7 6 1"),
        ("H/15 * * * *", "11-59/15 * * * *"),
        ("H(0-29)/10 * * * *", "6-29/10 * * * *"),
        ("0 H(9-17) * * mon-fri", "0 15 * * mon-fri"),
        ("H 30 2 * * *", "10 30 2 * * *"),
        ("0,H 3 * * *", "0,56 3 * * *"),
        ("0 0 * * thu", "0 0 * * thu"),
        ("@hourly", "@hourly"),
        ("  5 4 * * *", "  5 4 * * *"),
    ],
)
def test_what_is_drawn_depends_on_the_job_and_the_field_alone(expression, drawn):
    assert expanded(expression, SEED) == drawn
    parse(drawn)


def test_jobs_are_spread_over_all_minutes_and_over_days_that_every_month_has():
    minutes = Counter(expanded("H * * * *", f"job {each}").split()[0] for each in range(6_000))
    assert len(minutes) == 60
    assert max(minutes.values()) < 160
    days = {int(expanded("0 0 H * *", f"job {each}").split()[2]) for each in range(1_000)}
    assert days == set(range(1, 29))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.text(max_size=36),
    low=st.integers(0, 59),
    high=st.integers(0, 59),
    step=st.integers(1, 59),
)
def test_what_is_drawn_lies_in_its_range_and_takes_equal_steps(seed, low, high, step):
    if not low <= high or not step <= high - low:
        with pytest.raises(BadCron):
            expanded(f"H({low}-{high})/{step} * * * *", seed)
        return
    start, _, rest = expanded(f"H({low}-{high})/{step} * * * *", seed).split()[0].partition("-")
    assert low <= int(start) < low + step
    assert rest == f"{high}/{step}"


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("H(0-60) * * * *", "within 0-59"),
        ("H(30-10) * * * *", "ascending"),
        ("0 0 H(0-5) * *", "within 1-31"),
        ("H/0 * * * *", "a step lies between 1 and 59"),
        ("H/60 * * * *", "a step lies between 1 and 59"),
        ("H(5-10)/9 * * * *", "a step lies between 1 and 5"),
        ("H(1) * * * *", "H is written"),
        ("H-5 * * * *", "H is written"),
        ("HH * * * *", "H is written"),
        ("H * * *", "five fields, or six"),
        ("H 0 0 1 1 * 2030", "seven fields"),
        ("H\u00a00 * * *", "letters, digits, blanks"),
    ],
)
def test_what_is_not_understood_is_refused_with_a_sentence(expression, says):
    with pytest.raises(BadCron, match=says):
        expanded(expression, SEED)


def test_names_with_an_h_in_them_are_no_draw():
    assert not any(map(has_hash, ("0 0 * * thu", "0 0 * mar-oct thu", "@hourly", "@monthly")))
    assert has_hash("0 0 * * thu,H")
