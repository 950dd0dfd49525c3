"""The contract with handlers, ours and yours. Of all modules this one has a promise of stability.

A handler does the work of a job type. It is named by an entry point in the group `daybook.handlers`, whose
name is the job type; nothing of Daybook needs to be imported:

```toml
[project.entry-points."daybook.handlers"]
thumbnail = "my_package.jobs:thumbnail"
```
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
- The function may have an attribute `model`, a pydantic model: it checks `job_data` when a job is made.

Reporting progress, asking for another time to retry and giving up are not available yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - part of the contract, for whoever reads the annotations
from typing import Any

ENTRY_POINTS = "daybook.handlers"  # the group
RESULT_MAX_BYTES = 16 * 1024
RESULT_MAX_DEPTH = 100  # levels; what reads the log again gives up at 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a handler is told.

    Attributes:
        run_id: of the execution; the same in each of its attempts.
        job_data: the job's, as it was when this run was asked for; the handler's own copy.
        attempt: number of this start, from 1. Starts that lost their worker count, too.
        max_attempts: how many attempts may fail; later ones don't happen.
        scheduled_for: the nominal time, aware UTC.
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
