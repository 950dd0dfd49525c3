"""A run that is asked for while others of its job are active: what overlap_policy makes of it (DESIGN §6.3).

```
 skip       it doesn't run                              queue_one  it waits, unless one waits already
 allow      it runs beside them                         queue_all  it waits, behind up to WAITING_MAX others
 replace    they are to end, and those that wait don't run; it waits until they have ended
```
A run that waits is held, and its job lists it in `waiting`. When the last active run ends, the first that waits is
queued by the same unit (`following`): so whenever nothing of a job is active, nobody waits. What waits was decided: a
pause, or an edit of the policy, changes nothing about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.events import Change, RunCancelled, RunCancelRequested
from shared.domain.refusals import KeepsNoList, Overlaps, WaitingIsFull

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.job import Job
    from shared.domain.spec import OverlapPolicy

WAITING_MAX = 1_000
CANCELS_A_UNIT = 200  # each is an aggregate to load and to guard; as many as a timer's wakes in a batch
BY = "daybook"  # who cancels what is replaced


def in_the_way(job: Job, policy: OverlapPolicy) -> str | None:
    """The run because of which another can't even wait; None: it can, or starts."""
    if not job.active:
        return None
    match policy:
        case "skip":
            return job.active[0]
        case "queue_one" if job.waiting:
            return job.waiting[0]
        case "queue_all" if len(job.waiting) >= WAITING_MAX:
            return job.waiting[0]
        case _:
            return None


def waits(job: Job, policy: OverlapPolicy) -> bool:
    """Whether a run asked for now is held."""
    return bool(job.active) and policy not in {"skip", "allow"}


def refuse(job: Job, asked: OverlapPolicy | None) -> None:
    """Let through what may run or wait; `asked`: what the request says instead of the job's policy.

    Raises:
        KeepsNoList: nobody knows whether something is active.
        Overlaps: it would be skipped, and whoever asks is there to be told.
        WaitingIsFull: likewise.
    """
    policy = asked or job.spec.overlap_policy
    if policy != "allow" and not job.follows:
        raise KeepsNoList(current=job.status)
    if in_the_way(job, policy) is not None:
        raise (Overlaps if policy == "skip" else WaitingIsFull)(current="running")


def cancelled(job: Job, *, by: str, reason: str, now: datetime) -> list[Change]:
    """The ends of runs that wait, the first CANCELS_A_UNIT of them."""
    event = RunCancelled(attempt=0, by=by, reason=reason, cancelled_at=now)
    return [_of_run(job, run_id, event) for run_id in job.waiting[:CANCELS_A_UNIT]]


def stopped(job: Job, *, by: str, reason: str, now: datetime) -> list[Change]:
    """The wishes that its active runs end, the first CANCELS_A_UNIT of those that `go_on`.

    Whether a run is at work is none of the job's knowledge, and nothing it needs: one that isn't is due at once, and
    its wake ends it (`shared.domain.run`).
    """
    event = RunCancelRequested(by=by, reason=reason, requested_at=now)
    return [_of_run(job, run_id, event) for run_id in go_on(job)[:CANCELS_A_UNIT]]


def go_on(job: Job) -> list[str]:
    """Its active runs but for those that are to end already for another run's sake."""
    stopping = set(job.stopping)
    return [run_id for run_id in job.active if run_id not in stopping]


def replaced_by(run_id: str) -> str:
    """The reason of all that ends for the sake of this run."""
    return f"replaced by {run_id}"


def _of_run(job: Job, run_id: str, event: RunCancelled | RunCancelRequested) -> Change:
    return Change(subject=f"run:{run_id}", event=event, job=job.id, both=True)
