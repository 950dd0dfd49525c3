"""The contract with handlers, ours and yours. Of all modules this one has a promise of stability.

A handler does the work of a job type. It is named by an entry point in the group `daybook.handlers`, whose
name is the job type; nothing of Daybook needs to be imported:

```toml
[project.entry-points."daybook.handlers"]
thumbnail = "my_package.jobs:thumbnail"
```
or, without a package, by the mapping `HANDLERS` of a module that DAYBOOK_HANDLERS names (`HANDLERS = {"thumbnail":
thumbnail}`). It is an operation of the job type `custom` as well: `{"operation": "thumbnail", "parameters": {…}}`, of
which it is told the parameters as its `job_data`, and its own name as `job_type`.

```python
async def thumbnail(run):
    return {"made": await make(run.job_data["source"])}
```

- `async def` runs on the executor's event loop beside many others, so it must not block. A plain `def` runs
  in a process of its own, which is killed when its time is over.
- *Returning* a JSON value of at most RESULT_MAX_BYTES ends the run: it has succeeded, with that result.
- *Raising* fails the attempt: the job's retry policy decides, by the names of the exception's class and its
  bases, whether and when there is another. What can't be written as JSON fails it too.
- A handler is cancelled (`asyncio.CancelledError`), or its process killed, when `timeout_seconds` have
  passed (a failed attempt), when the run was given to another worker, and when the executor stops (the run is
  handed back and starts again elsewhere). One that ignores this for some seconds is left behind: what it
  returns later counts for nothing.
- A run may start twice after a crash. `run_id` is the same each time, `fence` is greater each time: a store
  that remembers the greatest fence it has seen can refuse a worker that was believed dead.
- The function may have an attribute `model`, a pydantic model: it checks `job_data` when a job is made. A field
  annotated `Annotated[str, Personal]` holds somebody's personal data (so does one whose JSON Schema says `x-personal:
  true`, without an import of ours): it is stored encrypted by a key of its job, as are the result, the errors' messages
  and the output of each run whose data has some, and `daybook erase` makes all of it unreadable for ever. The handler
  is told it as it was written.

While it works a handler may tell how far it is (`run.progress`) and what it does (`run.log`, or simply `logging`:
both are kept with the attempt, the last 64 KB of them). `run.retry_in` and `run.give_up` end the attempt, and say what
comes next: they raise, so let what they raise pass.

`shared.testing.run_handler` calls a handler by these rules in a test, without a server.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - part of the contract, for whoever reads the annotations
from typing import Any, NoReturn, Protocol

ENTRY_POINTS = "daybook.handlers"  # the group
RESULT_MAX_BYTES = 16 * 1024
RESULT_MAX_DEPTH = 100  # levels; what reads the log again gives up at 200

X_PERSONAL = "x-personal"  # in a JSON Schema: true where a value is personal data


class PersonalMark:
    """Marks a field of a model as somebody's personal data, see above: `Annotated[str, Personal]`."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(core_schema), X_PERSONAL: True}


Personal = PersonalMark()

RETRY_IN_MAX_S = 30 * 24 * 3600


class RetryIn(Exception):  # noqa: N818 - people read its name as the failure's class
    """The handler wants to be called again in `seconds`, if an attempt is left."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds


class GiveUp(Exception):  # noqa: N818 - likewise
    """The handler wants no further attempt."""


class Reporter(Protocol):
    """Where a handler's words go."""

    def log(self, text: str) -> None:
        """Take a line down."""

    def progress(self, ratio: float, message: str) -> None:
        """Show how far it is."""


class Nobody:
    """A reporter for handlers that are called without an executor, as in their own tests."""

    def log(self, text: str) -> None:
        """Take nothing down."""

    def progress(self, ratio: float, message: str) -> None:
        """Show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a handler is told.

    Attributes:
        run_id: of the execution; the same in each of its attempts.
        job_data: the job's, as it was when this run was asked for; the handler's own copy.
        attempt: number of this start, from 1. Starts that lost their worker count, too.
        max_attempts: how many attempts may fail; later ones don't happen.
        scheduled_for: the nominal time, aware UTC.
        timezone: IANA name of the zone that the job's schedule is in, "UTC" unless it says another: whose days and
            months are meant when its data says `yesterday`.
        fence: position of this start in the log, `<epoch>-<number>`; compare the two numbers, in this order.
        correlation_id: stands in the events and log lines of all that has the same cause.
        deadline: when the attempt is cancelled, aware UTC (in a process of its own: not before).
    """

    run_id: str
    job_id: str
    job_name: str
    job_type: str
    job_data: dict[str, Any]
    attempt: int
    max_attempts: int
    scheduled_for: datetime
    fence: str
    correlation_id: str
    deadline: datetime
    timezone: str = "UTC"
    reporter: Reporter = field(default_factory=Nobody, repr=False, compare=False)

    def progress(self, ratio: float, message: str = "") -> None:
        """Show how far the work is, in `GET /executions/{id}`; about once a second the latest is passed on.

        Args:
            ratio: from 0 to 1; what is beyond is taken for the nearer of them.
            message: for people, at most 200 characters of it.

        Raises:
            ValueError: `ratio` is no number.
        """
        if math.isnan(ratio):
            raise ValueError("progress is a ratio from 0 to 1, not NaN")
        self.reporter.progress(min(1.0, max(0.0, float(ratio))), str(message))

    def log(self, message: str) -> None:
        """Keep a line with the attempt, its time before it."""
        self.reporter.log(str(message))

    def retry_in(self, seconds: float, reason: str = "") -> NoReturn:
        """Fail this attempt, and ask for the next one in `seconds`, whatever the policy says of delay and names.

        It counts as a failed attempt: if none is left, the run has failed.

        Args:
            seconds: 0 … RETRY_IN_MAX_S.
            reason: for people; if there is none, the exception being handled.

        Raises:
            RetryIn: always.
            ValueError: `seconds` is out of bounds.
        """
        if not 0 <= seconds <= RETRY_IN_MAX_S:
            raise ValueError(f"retry_in takes 0 to {RETRY_IN_MAX_S} seconds, not {seconds}")
        raise RetryIn(float(seconds), reason or _handled() or f"asked for another attempt in {seconds:g} s")

    def give_up(self, reason: str = "") -> NoReturn:
        """Fail this attempt, and the run with it: no other follows.

        Args:
            reason: for people; if there is none, the exception being handled.

        Raises:
            GiveUp: always.
        """
        raise GiveUp(reason or _handled() or "the handler gave up")


def _handled() -> str:
    error = sys.exc_info()[1]
    return "" if error is None else f"{type(error).__name__}: {error}"
