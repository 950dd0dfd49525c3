"""A kit for tests of handlers: calls one as an executor does, by the executor's own rules, without any server.

```python
from shared.testing import run_handler
from my_package.jobs import thumbnail

def test_a_picture_that_is_gone_is_given_up():
    outcome = run_handler(thumbnail, {"source": "gone.png"})
    assert outcome.gave_up
    assert outcome.message == "gone.png is not there"
```
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from services.executor.masking import Mask
from services.executor.notebook import capture, taking_down
from services.executor.outcome import Raised, Returned, raised, returned, timed_out
from services.executor.secrets import Secrets
from shared import job_types
from shared.domain.retry import RetryPolicy, backoff_s
from shared.environment import SECRETS
from shared.handlers import Run
from shared.job_types import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.executor import outcome as executor
    from shared.job_types.plugins import Plugin

SCHEDULED = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an attempt came to, as it would be recorded.

    Attributes:
        result: what the handler returned, as JSON gives it back; None if it failed.
        error: name of the exception's class; "" if it succeeded. `BadResult`: what it returned can't be recorded.
        message: the exception's.
        names: by which `retry_on` and `give_up_on` of a job can name the failure.
        retry_in_s: what `run.retry_in` asked for, or None.
        gave_up: no other attempt would follow, whatever the job says.
        log: lines of `run.log` and of `logging`, without their times.
        progress: of `run.progress`, ratio and message.
    """

    attempt: int
    result: Any = None
    error: str = ""
    message: str = ""
    names: tuple[str, ...] = ()
    retry_in_s: float | None = None
    gave_up: bool = False
    log: tuple[str, ...] = ()
    progress: tuple[tuple[float, str], ...] = ()

    @property
    def succeeded(self) -> bool:
        """It returned, and what it returned can be recorded."""
        return not self.error

    def retried_after(self, **policy: Any) -> float | None:
        """Seconds until the next attempt; None if there is none.

        Args:
            policy: the job's, as in `shared.domain.retry.RetryPolicy`: max_retries, retry_on, give_up_on, …; without
                jitter unless it says so.
        """
        if self.succeeded or self.gave_up:
            return None
        return backoff_s(
            RetryPolicy(**{"jitter": 0.0} | policy),
            attempt=self.attempt,
            error_names=self.names,
            draw=0.5,
            asked_s=self.retry_in_s,
        )


def run_handler(
    handler: Callable[[Run], Any], job_data: Mapping[str, Any] | None = None, **told: Any
) -> Outcome:
    """Call a handler, `async def` or plain, in a test that is no coroutine itself; see `run_handler_async`.

    Raises:
        RuntimeError: a loop is running.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run_handler_async(handler, job_data, **told))
    raise RuntimeError("a loop is running here: await run_handler_async(…)")


async def run_handler_async(
    handler: Callable[[Run], Any],
    job_data: Mapping[str, Any] | None = None,
    *,
    secrets: Mapping[str, str] | None = None,
    timeout_s: float = 60,
    attempt: int = 1,
    **told: Any,
) -> Outcome:
    """Call a handler as an executor does, but in this process; whatever it does, there is an outcome.

    Args:
        handler: of one Run; its `model` checks the data.
        job_data: JSON; may have references `{"$secret": "NAME"}` in it.
        secrets: name → value. Values are masked in all that the outcome tells, as they would be.
        timeout_s: then a coroutine is cancelled; a plain function is only judged late, and ends when it likes.
        attempt: number of this start.
        told: other fields of `shared.handlers.Run`: run_id, job_name, job_type, scheduled_for, …

    Raises:
        BadJobData: no job with this data could be made; `faults` has what is wrong where.
        BadPlugin: it can't be a handler.
        ValueError: `job_data` is no JSON.
    """
    name = told.get("job_type", "") or getattr(handler, "__name__", "handler")
    plugin = plugins.of(name, handler, "a test")
    data = _checked(plugin, job_data or {})
    reporter = _Reporter()
    run = _run(told | {"job_type": name, "attempt": attempt, "reporter": reporter}, timeout_s)
    store = Secrets(
        environ={SECRETS + key: value for key, value in (secrets or {}).items()}, mask=reporter.mask
    )
    try:
        run = replace(run, job_data=store.revealed(data))
    except Exception as error:  # noqa: BLE001 - a secret that is missing is an outcome
        return _told(raised(error, reporter.mask.text), reporter, attempt)
    return _told(await _called(plugin, run, reporter, timeout_s), reporter, attempt)


def _checked(plugin: Plugin, job_data: Mapping[str, Any]) -> dict[str, Any]:
    try:
        data = json.loads(json.dumps(job_data, allow_nan=False))
    except TypeError as error:
        raise ValueError(f"job_data is no JSON: {error}") from error
    name = plugin.job_type.name
    return job_types.check(name, data, known=job_types.Known(types={name: plugin.job_type}))


def _run(told: Mapping[str, Any], timeout_s: float) -> Run:
    fields: dict[str, Any] = {
        "run_id": "run-1",
        "job_id": "job-1",
        "job_name": "a job",
        "job_data": {},
        "max_attempts": 4,
        "scheduled_for": SCHEDULED,
        "fence": f"1-{told['attempt']}",
        "correlation_id": "test",
        "deadline": datetime.now(UTC) + timedelta(seconds=timeout_s),  # noqa: TID251 - what a handler compares with
    }
    return Run(**fields | dict(told))


async def _called(plugin: Plugin, run: Run, reporter: _Reporter, timeout_s: float) -> executor.Outcome:
    time_is_over = asyncio.timeout(timeout_s)
    try:
        with _listening(), taking_down(reporter):
            async with time_is_over:
                if plugin.blocking:
                    return returned(await asyncio.to_thread(plugin.handler, run))
                return returned(await plugin.handler(run))
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # the test is
        return raised(cancelled)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - failed work is a fact
        return timed_out(timeout_s) if time_is_over.expired() else raised(error, reporter.mask.text)


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    """Have `logging` pass on what an executor takes down: INFO and above."""
    capture()
    root = logging.getLogger()
    before = root.level
    root.setLevel(min(before, logging.INFO) or logging.INFO)
    try:
        yield
    finally:
        root.setLevel(before)


def _told(outcome: executor.Outcome, reporter: _Reporter, attempt: int) -> Outcome:
    said: dict[str, Any] = {
        "attempt": attempt,
        "log": tuple(reporter.lines),
        "progress": tuple(reporter.shown),
    }
    match reporter.mask.outcome(outcome):
        case Returned(result=result):
            return Outcome(result=result, **said)
        case Raised() as failure:
            return Outcome(
                error=failure.error.class_,
                message=failure.error.message,
                names=failure.names,
                retry_in_s=failure.retry_in_s,
                gave_up=failure.give_up,
                **said,
            )


class _Reporter:
    """Remembers what a handler says."""

    def __init__(self) -> None:
        self.mask = Mask()
        self.lines: list[str] = []
        self.shown: list[tuple[float, str]] = []

    def log(self, text: str) -> None:
        self.lines.append(self.mask.text(text))

    def progress(self, ratio: float, message: str) -> None:
        self.shown.append((ratio, self.mask.text(message)))
