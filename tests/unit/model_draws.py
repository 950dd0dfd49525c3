"""What the model's stories are drawn from: schedules, policies, spans of time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

from hypothesis import strategies as st

from shared.domain.exclude import Span
from shared.domain.jitter import fires_at
from shared.domain.retry import RetryPolicy
from shared.domain.schedule import Schedule
from shared.domain.spec import OverlapPolicy
from shared.domain.walk import DstPolicy

from .schedules import utc

if TYPE_CHECKING:
    from datetime import datetime

STARTS = [utc("2026-03-28T20:00"), utc("2026-10-24T20:00"), utc("2026-04-04T08:00")]  # clocks change soon
HOUR = 3600
OVERLAPS = get_args(OverlapPolicy)

seconds = st.sampled_from([0, 1, 7, 59, 60, 61, 600, HOUR, 5 * HOUR, 12 * HOUR, 24 * HOUR, 10 * 24 * HOUR])
offsets = st.sampled_from(
    [-24 * HOUR, -HOUR, -30, 0, 1, 30, HOUR, 6 * HOUR, 30 * HOUR]
)  # from now, in seconds
ahead = st.sampled_from([1, 60, HOUR, 12 * HOUR, 5 * 24 * HOUR])
words = st.sampled_from(["latest", "skip", "all"])
switches = st.sampled_from([None, None, None, "all", "tag:t"])
picks = st.integers(0, 10**6)
crons = st.fixed_dictionaries(
    {
        "cron_expression": st.sampled_from(
            [
                "30 2 * * *",
                "*/30 * * * *",
                "0 0 * * *",
                "15 2-2 * * *",
                "0 3 L * *",
                ("30 2 * * *", "0 */6 * * *"),
            ]
        ),
        "timezone": st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
        "dst_policy": st.sampled_from(
            [None, DstPolicy(gap="skip", overlap="both"), DstPolicy(overlap="last")]
        ),
    }
)
intervals = st.fixed_dictionaries({"interval_seconds": st.sampled_from([300, HOUR, 12 * HOUR])})
windows = st.fixed_dictionaries(
    {
        "start_at": st.none() | offsets,
        "end_at": st.none() | st.none() | offsets,
        "max_runs": st.sampled_from([None, 1, 3]),
        "jitter_seconds": st.sampled_from([0, 0, 20, 5 * HOUR]),
        "exclude": st.sampled_from([(), (), (0, 0), (1, 3)]),  # days from today
    }
)
recurring = st.tuples(crons | intervals, st.just({}) | windows | windows).map(lambda both: both[0] | both[1])
beginnings = st.tuples(crons | intervals, st.sampled_from([{}, {"max_runs": 2}])).map(
    lambda both: both[0] | both[1]
)
schedules = recurring | recurring | st.fixed_dictionaries({"run_at": offsets}) | st.just({})
policies = st.fixed_dictionaries(
    {
        "misfire_policy": words,
        "misfire_grace_seconds": st.sampled_from([0, 60, HOUR]),
        "overlap_policy": st.sampled_from(OVERLAPS),
        "start_deadline_seconds": st.sampled_from([None, None, 30]),
        "max_lost": st.sampled_from([1, 2]),
        "pause_after_failures": st.sampled_from([None, None, 1, 2]),
        "retry": st.sampled_from(
            [RetryPolicy(max_retries=0), RetryPolicy(max_retries=2, initial_seconds=5.0, jitter=0.0)]
        ),
    }
)


def schedule_of(drawn: dict[str, Any], now: datetime) -> Schedule:
    """As it was drawn, its moments and dates counted from now."""
    moments = {
        name: now + timedelta(seconds=drawn[name])
        for name in ("start_at", "end_at", "run_at")
        if drawn.get(name) is not None
    }
    if days := drawn.get("exclude"):
        first, last = (now.date() + timedelta(days=day) for day in days)
        moments["exclude"] = (Span(from_=first, to=last),)
    return Schedule(**(drawn | moments))


def drawn_for(job: str, schedule: Schedule, at: datetime, following: datetime | None) -> datetime:
    """When an occurrence fires, as it is drawn; within what was asked for, and before the next one."""
    fires = fires_at(schedule, job, at, following)
    assert at <= fires <= at + timedelta(seconds=schedule.jitter_seconds)
    assert following is None or fires < following
    return fires
