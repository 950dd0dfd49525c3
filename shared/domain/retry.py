"""Retries: tenacity decides whether and when a failed attempt is followed by another (DESIGN §6.4).

Nothing sleeps here and nothing is drawn: the answer becomes an event with a wake-up time in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenacity import (
    DoSleep,
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)

from shared.domain.value import Value, told

if TYPE_CHECKING:
    from collections.abc import Callable


class RetryPolicy(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What a job does about failures. The bounds of API.md are checked at the door.

    Attributes:
        max_retries: attempts after the first.
        initial_seconds: the delay after the first failure; each later one is `multiplier` (≥ 1) times longer.
        max_seconds: no delay is longer, jitter included.
        jitter: fraction of the delay, 0…1: `delay · (1 ± jitter)`.
        retry_on: names of exception classes worth another attempt, themselves or a base; empty means all.
        give_up_on: names that end the run at once, whatever `retry_on` says.
    """

    max_retries: int = told(3)
    initial_seconds: float = told(1.0)
    multiplier: float = told(2.0)
    max_seconds: float = told(300.0)
    jitter: float = told(0.1)
    retry_on: tuple[str, ...] = ()
    give_up_on: tuple[str, ...] = ()


class _Failed(Exception):  # noqa: N818 - stands for whatever failed, in tenacity's hands only
    pass


def backoff_s(
    policy: RetryPolicy,
    *,
    attempt: int,
    error_names: tuple[str, ...],
    draw: float,
    asked_s: float | None = None,
) -> float | None:
    """Seconds to wait after failed attempt number `attempt` (from 1), whole milliseconds; None to give up.

    Args:
        policy: the job's.
        attempt: the attempt that failed.
        error_names: the class of its exception and all bases, each bare (`OSError`) and dotted
            (`builtins.OSError`); a policy may name either.
        draw: chance in [0, 1), drawn by the caller and spread evenly over ± jitter.
        asked_s: what the handler asked for, whatever the policy says of the delay and of names; never one attempt more.
    """
    asked = asked_s is not None
    retrying = _retrying(policy, lambda _: asked or _worth_it(policy, frozenset(error_names)))
    state = RetryCallState(retrying, None, (), {})
    state.attempt_number = attempt
    failure = _Failed()
    state.set_exception((_Failed, failure, None))
    retrying.begin()  # without it `iter` misses its statistics: KeyError 'idle_for'
    try:
        sleep = retrying.iter(state)
    except (RetryError, _Failed):  # no attempt left; not worth another
        return None
    assert isinstance(sleep, DoSleep)  # noqa: S101 - the state has an outcome: this or an exception
    if asked_s is not None:
        return round(asked_s, 3)
    jittered_s = sleep * (1 + policy.jitter * (2 * draw - 1))
    return min(round(jittered_s, 3), policy.max_seconds)


def _retrying(policy: RetryPolicy, worth_it: Callable[[BaseException], bool]) -> Retrying:
    """One for each decision: tenacity keeps the state of a call in it."""
    return Retrying(
        stop=stop_after_attempt(policy.max_retries + 1),
        wait=wait_exponential(
            multiplier=policy.initial_seconds, exp_base=policy.multiplier, max=policy.max_seconds
        ),
        retry=retry_if_exception(worth_it),
        reraise=False,
    )


def _worth_it(policy: RetryPolicy, names: frozenset[str]) -> bool:
    if not names.isdisjoint(policy.give_up_on):
        return False
    return not policy.retry_on or not names.isdisjoint(policy.retry_on)
