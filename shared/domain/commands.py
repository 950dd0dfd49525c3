"""The wishes: imperatives that `decide` turns into events, or refuses. Ids and draws are brought along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.domain.events import Failure
    from shared.domain.spec import JobSpec, OverlapPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateJob:
    """Define a job under an id that is not taken."""

    job_id: str
    spec: JobSpec
    owner: str
    tenant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateJob:
    """Replace the specification."""

    spec: JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseJob:
    """Stop the schedule; already paused is no change."""

    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendJob:
    """Pause a job whose schedule can't be decided any more: nothing is settled first."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeJob:
    """Let the schedule go on; not paused is no change."""

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob:
    """End all decisions for the job."""

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerJob:
    """Run the job now, as run `run_id`; None leaves what the job says.

    Attributes:
        run_id: a chance id in the job's partition.
        job_data: replaces the job's (the caller has merged and checked it).
    """

    run_id: str
    correlation_id: str
    job_data: dict[str, Any] | None = None
    priority: int | None = None
    overlap_policy: OverlapPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """The time in the due index has come: decide what is due, for a job or a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """Begin the next attempt on this worker."""

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SucceedRun:
    """The handler of the start fenced by `fence` returned `result`."""

    fence: str
    result: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailRun:
    """The handler of the start fenced by `fence` raised.

    Attributes:
        names: class names of the exception and its bases, bare and dotted (for retry_on, give_up_on).
        draw: in [0, 1), for the jitter of the back-off.
    """

    fence: str
    error: Failure
    names: tuple[str, ...]
    draw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptRun:
    """The worker stops and gives the run of the start fenced by `fence` back."""

    fence: str


JobCommand = CreateJob | UpdateJob | PauseJob | SuspendJob | ResumeJob | DeleteJob | TriggerJob | Wake
RunCommand = StartRun | SucceedRun | FailRun | InterruptRun | Wake
