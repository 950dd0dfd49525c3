"""Interval jobs, their phases spread: is each occurrence delivered, once, and how late does its handler begin."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from shared.domain import ids
from shared.domain.schedule import Schedule

from . import story
from .stand import on_a_stand
from .waiting import TooLongError, say, sleep_until, until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .hand import Hand
    from .plugin import Note
    from .sizes import Sizes
    from .stand import Measured, Raw, Stand

CATCH_UP_S = 180
_SKIPPED = """
    select substr(subject, 5) as job,
           (extract(epoch from (data::jsonb ->> 'from')::timestamptz) * 1000)::bigint as from_ms,
           (extract(epoch from (data::jsonb ->> 'to')::timestamptz) * 1000)::bigint as to_ms
    from book.events where type = 'OccurrencesSkipped'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How many jobs, each with an interval of `sizes.PERIOD_S`, and for how long they are looked at."""

    jobs: int
    window_s: int
    concurrency: int


SCHEDULES = Load(jobs=10_000, window_s=30, concurrency=100)  # the default
OVERLOAD = Load(jobs=50_000, window_s=20, concurrency=400)  # 100 slots would bound it, not the machine


class Occurrence(NamedTuple):
    """What must be decided once, to run or to skip; the id of its run follows from job and nominal time."""

    job_id: str
    run_id: str
    nominal_ms: int


def measure(directory: Path, sizes: Sizes, *, load: Load) -> Measured:
    """Make the jobs, then look at a window that begins when all of them are there."""
    settings = {"DAYBOOK_CONCURRENCY": str(load.concurrency)}
    return on_a_stand(directory, partial(_measure, sizes=sizes, load=load), settings=settings)


async def _measure(stand: Stand, hand: Hand, *, sizes: Sizes, load: Load) -> Raw:
    count, period_s = sizes.count(load.jobs), sizes.period_s
    lead_s = 3 + 1.3 * await hand.seconds_to_create(count, Schedule())
    origin_ms = round((time.time() + lead_s) * 1000)
    phases_ms = [number * period_s * 1000 // count for number in range(count)]
    say(f"making {count:,} jobs of {period_s} s, the first due in {lead_s:.0f} s")
    starts = [ids.from_ms(origin_ms + phase) for phase in phases_ms]
    made = await hand.create([Schedule(interval_seconds=period_s, start_at=start) for start in starts])
    await _level_before(hand, origin_ms / 1000 - 1)
    begin_ms = _next_period(origin_ms, period_s)
    end_ms = begin_ms + sizes.windows(load.window_s) * period_s * 1000
    await sleep_until(begin_ms / 1000)
    say(f"looking for {(end_ms - begin_ms) / 1000:g} s")
    with stand.meter.window():
        await sleep_until(end_ms / 1000)
    await _quiesce(stand, hand, end_ms)
    expected = [
        Occurrence(job_id, story.occurrence_run(job_id, nominal_ms), nominal_ms)
        for job_id, phase in zip((job.ref.removeprefix("job:") for job in made), phases_ms, strict=True)
        for nominal_ms in range(begin_ms + phase, end_ms, period_s * 1000)
    ]
    skips = [(job, begin, end) for job, begin, end in await hand.pool.fetch(_SKIPPED)]
    return {
        "jobs": count,
        "period_ms": period_s * 1000,
        "base_ms": begin_ms,
        "window_ms": end_ms - begin_ms,
        "skipped": _skipped(expected, skips),
        **_columns(expected, stand.notes(), begin_ms),
    }


def _next_period(origin_ms: int, period_s: int) -> int:
    """The first whole period after `origin_ms` that is still to come."""
    passed = (time.time() * 1000 + 500 - origin_ms) / (period_s * 1000)
    return origin_ms + max(0, math.ceil(passed)) * period_s * 1000


async def _level_before(hand: Hand, at_s: float) -> None:
    """Let the projector finish with the creations, if it can before the first jobs are due."""
    try:
        await hand.settle(timeout_s=max(0.0, at_s - time.time()))
    except TooLongError:
        say("the projector isn't level yet; going on")


async def _quiesce(stand: Stand, hand: Hand, end_ms: int) -> None:
    """Let everything due before `end_ms` be decided, then run; end timer and executor; let the archive have it."""
    say("letting timer, executor and projector catch up")
    await until(partial(_none_due, hand, end_ms - 1), "the timer has caught up", timeout_s=CATCH_UP_S)
    await stand.end("timer")
    await until(partial(_none_queued, hand), "the executor has caught up", timeout_s=CATCH_UP_S)
    await stand.end("executor")
    await hand.settle()


async def _none_due(hand: Hand, until_ms: int) -> bool:
    return await hand.due(until_ms) == 0


async def _none_queued(hand: Hand) -> bool:
    return await hand.queued() == 0


def _skipped(expected: Iterable[Occurrence], skips: Iterable[tuple[str, int, int]]) -> list[int]:
    """How many decisions to skip the log holds of each occurrence."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for job_id, from_ms, to_ms in skips:
        spans.setdefault(job_id, []).append((from_ms, to_ms))
    return [
        sum(from_ms <= each.nominal_ms <= to_ms for from_ms, to_ms in spans.get(each.job_id, []))
        for each in expected
    ]


def _columns(expected: list[Occurrence], notes: list[Note], base_ms: int) -> Raw:
    began: dict[str, list[int]] = {}
    for note in notes:
        began.setdefault(note.run_id, []).append(note.began_us)
    starts = [began.get(each.run_id, []) for each in expected]
    return {
        "nominal_ms": [each.nominal_ms - base_ms for each in expected],
        "late_us": [
            min(times) - each.nominal_ms * 1000 if times else None
            for each, times in zip(expected, starts, strict=True)
        ],
        "handled": [len(times) for times in starts],
    }
