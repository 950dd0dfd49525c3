"""All benches by name, in the order in which they run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from . import (
    bench_api,
    bench_beats,
    bench_executor,
    bench_latency,
    bench_memory,
    bench_oneoff,
    bench_projector,
    bench_restart,
    bench_schedules,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .sizes import Sizes
    from .stand import Measured


@dataclass(frozen=True, slots=True)
class Bench:
    """One bench: what it measures, in a sentence, and the doing, in a directory of its own."""

    what: str
    measure: Callable[[Path, Sizes], Measured]


BENCHES = {
    "api": Bench("POST /jobs on 32 connections, answered when archived", bench_api.measure),
    "executor": Bench("20,000 triggered no-op runs, one executor", bench_executor.measure),
    "schedules": Bench(
        "10,000 schedules every 10 s, for 30 s",
        partial(bench_schedules.measure, load=bench_schedules.SCHEDULES),
    ),
    "oneoff": Bench("10,000 one-off jobs due at one instant", bench_oneoff.measure),
    "latency": Bench("POST …/trigger at 200/s for 15 s", bench_latency.measure),
    "projector": Bench("200,000 events behind", bench_projector.measure),
    "memory": Bench("100,000 idle jobs", bench_memory.measure),
    "overload": Bench(
        "50,000 schedules every 10 s, for 20 s, DAYBOOK_CONCURRENCY=400",
        partial(bench_schedules.measure, load=bench_schedules.OVERLOAD),
    ),
    "beats": Bench("10,000 running runs whose handlers sleep, one executor", bench_beats.measure),
    "restart": Bench("`daybook up` over 20,000 jobs, after a clean stop", bench_restart.measure),
}
