"""Whether and when a failed attempt is followed by another."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.retry import RetryPolicy, backoff_s

OS_ERROR = ("ConnectionError", "builtins.ConnectionError", "OSError", "builtins.OSError", "Exception")
EVEN = 0.5  # the draw in the middle: no jitter either way


def delays(policy: RetryPolicy, draw: float = EVEN, names: tuple[str, ...] = OS_ERROR) -> list[float | None]:
    attempts = range(1, policy.max_retries + 3)
    return [backoff_s(policy, attempt=attempt, error_names=names, draw=draw) for attempt in attempts]


def test_by_default_three_retries_follow_after_1_2_and_4_seconds():
    assert delays(RetryPolicy()) == [1, 2, 4, None, None]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy(max_retries=0), [None, None]),
        (RetryPolicy(max_retries=1), [1, None, None]),
        (RetryPolicy(initial_seconds=0.25, multiplier=3), [0.25, 0.75, 2.25, None, None]),
        (RetryPolicy(initial_seconds=5, multiplier=1), [5, 5, 5, None, None]),
        (RetryPolicy(initial_seconds=100, multiplier=2), [100, 200, 300, None, None]),
        (RetryPolicy(initial_seconds=500), [300, 300, 300, None, None]),
        (RetryPolicy(initial_seconds=0), [0, 0, 0, None, None]),
        (RetryPolicy(max_seconds=0), [0, 0, 0, None, None]),
        (RetryPolicy(initial_seconds=1 / 3, multiplier=1), [0.333, 0.333, 0.333, None, None]),
    ],
)
def test_delays_grow_by_the_multiplier_up_to_the_longest(policy, expected):
    assert delays(policy) == expected


def test_a_long_chain_of_retries_stays_at_the_longest_delay():
    policy = RetryPolicy(max_retries=100, multiplier=1e300)

    assert delays(policy)[1:100] == [300] * 99


@pytest.mark.parametrize(
    ("draw", "expected"), [(0.0, [8, 16, 16]), (0.25, [9, 18, 18]), (0.5, [10, 20, 20]), (0.75, [11, 20, 20])]
)
def test_jitter_spreads_the_draw_evenly_about_the_delay_and_never_passes_the_longest(draw, expected):
    policy = RetryPolicy(initial_seconds=10, max_seconds=20, jitter=0.2)

    assert delays(policy, draw)[:3] == expected


def test_without_jitter_the_draw_does_not_matter():
    assert delays(RetryPolicy(jitter=0), draw=0.0) == delays(RetryPolicy(jitter=0), draw=0.999)


@pytest.mark.parametrize(
    ("policy", "again"),
    [
        (RetryPolicy(), True),
        (RetryPolicy(retry_on=("ConnectionError",)), True),
        (RetryPolicy(retry_on=("builtins.ConnectionError",)), True),
        (RetryPolicy(retry_on=("OSError",)), True),  # a base class
        (RetryPolicy(retry_on=("ValueError", "OSError")), True),
        (RetryPolicy(retry_on=("ValueError",)), False),
        (RetryPolicy(retry_on=("Connection",)), False),  # no part of a name
        (RetryPolicy(give_up_on=("OSError",)), False),
        (RetryPolicy(give_up_on=("builtins.ConnectionError",)), False),
        (RetryPolicy(give_up_on=("ValueError",)), True),
        (RetryPolicy(retry_on=("ConnectionError",), give_up_on=("OSError",)), False),  # giving up wins
    ],
)
def test_the_names_of_the_error_and_its_bases_decide_whether_it_is_worth_another_attempt(policy, again):
    assert (backoff_s(policy, attempt=1, error_names=OS_ERROR, draw=EVEN) is not None) is again


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        RetryPolicy,
        max_retries=st.integers(0, 100),
        initial_seconds=st.floats(0, 86_400),
        multiplier=st.floats(1, 100),
        max_seconds=st.floats(0, 86_400),
        jitter=st.floats(0, 1),
    ),
    st.integers(1, 101),
    st.floats(0, 1, exclude_max=True),
)
def test_an_answer_is_a_time_to_wait_within_bounds_or_the_end_and_always_the_same(policy, attempt, draw):
    answer = backoff_s(policy, attempt=attempt, error_names=(), draw=draw)

    assert (answer is None) == (attempt > policy.max_retries)
    assert answer is None or 0 <= answer <= policy.max_seconds
    assert answer is None or timedelta(seconds=answer) <= timedelta(seconds=policy.max_seconds)
    assert answer == backoff_s(policy, attempt=attempt, error_names=(), draw=draw)
