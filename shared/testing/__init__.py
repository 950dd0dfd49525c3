"""For tests: builders, waits and a log on a real server (`bench`), and a kit for tests of handlers (`handlers`).

The kit is for whoever writes handlers: `run_handler` calls one as an executor does, without any server. No service
imports this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shared.testing.handlers import Outcome, run_handler, run_handler_async

if TYPE_CHECKING:
    from shared.testing.bench import (
        LEASE,
        NOON,
        TESTER,
        Bench,
        a_job_id,
        a_spec,
        a_told_run,
        at,
        chance,
        resources,
        wait_until,
    )

__all__ = [
    "LEASE",
    "NOON",
    "TESTER",
    "Bench",
    "Outcome",
    "a_job_id",
    "a_spec",
    "a_told_run",
    "at",
    "chance",
    "resources",
    "run_handler",
    "run_handler_async",
    "wait_until",
]


def __getattr__(name: str) -> Any:
    """What of `bench` is asked for: it loads Redis, and more, which a test of a handler can do without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("shared.testing.bench"), name)
