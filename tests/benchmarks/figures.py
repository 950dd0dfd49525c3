"""Figures and faults from raw rows, and from nothing else: the one place where they are computed.

Percentiles are nearest-rank: the smallest value that at least p % of all are not above; never between two.
A figure without rows is None. Faults are what may never happen, whatever the machine does meanwhile: work that
is lost, or was done twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Raw = dict[str, Any]
Value = int | float | None
CREATED, ACCEPTED = 201, 202


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a bench has come to: values by the names that `floors` knows, and sentences about what went wrong."""

    figures: dict[str, Value]
    faults: tuple[str, ...] = ()


def percentile(values: Iterable[float], percent: float) -> Value:
    """The nearest-rank percentile; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(1, math.ceil(percent / 100 * len(ordered))) - 1]


def of(name: str, raw: Raw) -> Result:
    """Figures and faults of the bench `name`."""
    return _RESULTS[name](raw)


def cpu_seconds(cpu: Raw) -> dict[str, float]:
    """User and system time of each process within its bench's window; one that came in it had none before."""
    before: Mapping[str, int] = cpu["before"]
    return {
        name: (ticks - before.get(name, 0)) / cpu["ticks_per_second"] for name, ticks in cpu["after"].items()
    }


def pace(yardstick: Raw) -> tuple[Value, Value]:
    """How quick the machine was: ms of a piece of Python (median), and of an append to the disk (p99)."""
    loop_us, append_us = (percentile(yardstick[key], p) for key, p in (("loop_us", 50), ("append_us", 99)))
    return tuple(None if each is None else each / 1000 for each in (loop_us, append_us))  # type: ignore[return-value]


def _api(raw: Raw) -> Result:
    begin, end = raw["warm_up_us"], raw["warm_up_us"] + raw["window_us"]
    rows = list(zip(raw["sent_us"], raw["took_us"], raw["status"], strict=True))
    within = [(took, status) for sent, took, status in rows if begin <= sent + took < end]
    took_ms = [took / 1000 for took, _ in within]
    counted = [status for _, status in within]
    kept = sum(status in {CREATED, ACCEPTED} for _, _, status in rows)
    broken = len(rows) - kept
    return Result(
        figures={
            "created": counted.count(CREATED) / (raw["window_us"] / 1e6),
            "p50": percentile(took_ms, 50),
            "p99": percentile(took_ms, 99),
            "accepted": counted.count(ACCEPTED),
        },
        faults=_said(
            (broken, "requests were refused or not answered"),
            (max(0, kept - raw["archived"]), "acknowledged jobs are not in the archive"),
        ),
    )


def _executor(raw: Raw) -> Result:
    started, ended = _present(raw["started_ms"]), _present(raw["ended_ms"])
    took_ms = max(ended) - min(started) if started and ended else 0
    last_end_us = max(ended, default=0) * 1000
    return Result(
        figures={
            "runs": len(ended) * 1000 / took_ms if took_ms else None,
            "level": _seconds_to_level(raw["levels"], last_end_us),
            "span": took_ms / 1000,
        },
        faults=_once(raw),
    )


def _schedules(raw: Raw) -> Result:
    late_ms = [late / 1000 for late in _present(raw["late_us"])]
    expected, missing = len(raw["late_us"]), raw["late_us"].count(None)
    twice = sum(max(0, times - 1) for times in raw["handled"])
    decided = [min(1, ran) + skips for ran, skips in zip(raw["handled"], raw["skipped"], strict=True)]
    return Result(
        figures={
            "expected": expected,
            "delivered": (expected - missing) * 100 / expected if expected else None,
            "missing": missing,
            "skipped": sum(raw["skipped"]),
            "duplicates": twice,
            "p50": percentile(late_ms, 50),
            "p99": percentile(late_ms, 99),
            "max": max(late_ms, default=None),
        },
        faults=_said(
            (decided.count(0), "occurrences were neither run nor skipped"),
            (sum(times > 1 for times in decided), "occurrences were decided twice"),
            (twice, "handlers began once too often"),
        ),
    )


def _oneoff(raw: Raw) -> Result:
    ended, started = _present(raw["ended_ms"]), _present(raw["started_ms"])
    return Result(
        figures={
            "last_end": max(ended) / 1000 if ended else None,
            "first_start": min(started) / 1000 if started else None,
            "ran": len(ended),
        },
        faults=_once(raw),
    )


def _latency(raw: Raw) -> Result:
    to_handler = _gaps(raw["sent_us"], raw["began_us"], us_a_unit=1000)
    after_commit = _gaps([_times(ms, 1000) for ms in raw["requested_ms"]], raw["began_us"], us_a_unit=1000)
    to_started = _gaps(raw["requested_ms"], raw["started_ms"])
    late = _gaps(raw["planned_us"], raw["sent_us"], us_a_unit=1000)
    took_ms = [took / 1000 for took in raw["took_us"]]
    broken = sum(status not in {CREATED, ACCEPTED} for status in raw["status"])
    return Result(
        figures={
            "p50": percentile(to_handler, 50),
            "p99": percentile(to_handler, 99),
            "commit_p50": percentile(after_commit, 50),
            "commit_p99": percentile(after_commit, 99),
            "started_p50": percentile(to_started, 50),
            "started_p99": percentile(to_started, 99),
            "answer_p50": percentile(took_ms, 50),
            "answer_p99": percentile(took_ms, 99),
            "sender_p99": percentile(late, 99),
        },
        faults=_said((broken, "triggers were refused or not answered"), *(() if broken else _not_once(raw))),
    )


def _projector(raw: Raw) -> Result:
    levels = raw["levels"]
    samples = list(zip(levels["at_us"], levels["archived"], strict=True))
    moved = [(at, archived) for at, archived in samples if archived > 0]
    lost = (max(0, raw["runs"] - raw["archived_runs"]), "runs are not in the ledger")
    if not moved:
        return Result(figures={"events": None, "from_start": None}, faults=_said(lost))
    (first_us, first), (last_us, last) = moved[0], moved[-1]
    span_s = (last_us - first_us) / 1e6
    return Result(
        figures={
            # What the first movement brought was done before it: neither its events nor its time count.
            "events": (last - first) / span_s if span_s else None,
            "from_start": (last_us - raw["spawned_us"]) / 1e6,
        },
        faults=_said(lost),
    )


def _memory(raw: Raw) -> Result:
    jobs, hashes = raw["jobs"], raw["job_hashes"]
    total = (raw["used_after"][-1] - raw["used_before"][-1]) / jobs
    each = {
        "hash": sum(hashes) / len(hashes),
        "due": sum(raw["due"]) / jobs,
        "log": sum(raw["logs"]) / jobs,
    }
    return Result(
        figures={"job": total, **each, "rest": total - sum(each.values())},
        faults=_said((abs(jobs - raw["archived_jobs"]), "jobs are missing from the ledger, or too many")),
    )


def _beats(raw: Raw) -> Result:
    busy_s = raw["executor_ticks"] / raw["ticks_per_second"]
    return Result(
        figures={"core": 100 * busy_s / (raw["window_us"] / 1e6), "runs": raw["runs"]},
        faults=_said(
            (raw["lost"], "runs were lost under their handlers"),
            (raw["ended"], "runs have ended before the window was over"),
        ),
    )


def _restart(raw: Raw) -> Result:
    return Result(
        figures={"healthy": max(raw["healthy_us"]) / 1e6, "jobs": raw["jobs"]},
        faults=_said((abs(raw["jobs"] - raw["found"]), "jobs were lost, or made, by the restart")),
    )


_RESULTS: dict[str, Callable[[Raw], Result]] = {
    "api": _api,
    "executor": _executor,
    "schedules": _schedules,
    "oneoff": _oneoff,
    "latency": _latency,
    "projector": _projector,
    "memory": _memory,
    "overload": _schedules,
    "beats": _beats,
    "restart": _restart,
}


def _once(raw: Raw) -> tuple[str, ...]:
    return _said(*_not_once(raw))


def _not_once(raw: Raw) -> tuple[tuple[int, str], ...]:
    """Runs that didn't start, succeed and end exactly once, by the log and by the handlers' own account."""
    rows = list(zip(raw["starts"], raw["ends"], raw["succeeded"], raw["handled"], strict=True))
    return (
        (sum(ends == 0 for _, ends, _, _ in rows), "runs have not ended"),
        (sum(ends > 0 and succeeded != 1 for _, ends, succeeded, _ in rows), "runs have not succeeded"),
        (sum(ends > 1 for _, ends, _, _ in rows), "runs have ended twice"),
        (sum(max(starts, handled) > 1 for starts, _, _, handled in rows), "runs have started twice"),
        (sum(ends > 0 and handled == 0 for _, ends, _, handled in rows), "runs have ended without a handler"),
    )


def _said(*counts: tuple[int, str]) -> tuple[str, ...]:
    return tuple(f"{count:,} {what}" for count, what in counts if count)


def _seconds_to_level(levels: Raw, after_us: int) -> Value:
    """From `after_us` until the first sample that shows the archive level with the log."""
    samples = zip(levels["at_us"], levels["logged"], levels["archived"], strict=True)
    level = [at for at, logged, archived in samples if archived >= logged and at >= after_us]
    return (level[0] - after_us) / 1e6 if level else None


def _gaps(froms: Sequence[Value], tos: Sequence[Value], *, us_a_unit: int = 1) -> list[float]:
    return [
        (to - from_) / us_a_unit
        for from_, to in zip(froms, tos, strict=True)
        if from_ is not None and to is not None
    ]


def _times(value: Value, factor: int) -> Value:
    return None if value is None else value * factor


def _present(values: Sequence[int | None]) -> list[int]:
    return [value for value in values if value is not None]
