"""What POST /jobs/{id}/simulate answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.api.responses import Answer, DifferenceView, RunStatus, Time
from shared.domain.comparison import Change  # noqa: TC001 - pydantic reads these annotations
from shared.domain.events import SkipReason  # noqa: TC001 - likewise

COUNT, COUNT_MAX = 100, 1_000
LISTED_MAX = 1_000


class DecidedView(Answer):
    """What was decided about an occurrence, or would be.

    `waits`: its run for the end of others. `collides_with`: the run that was active then, whatever the policy made of
    that; `estimated`: it is thought to have been, by what runs usually take. `status` and `positions` (of the event
    that decided it, and of the run's end) are of what really happened, and else null and empty.
    """

    scheduled_for: Time
    decision: Literal["run", "skip"]
    reason: SkipReason | None = Field(description="why it is skipped")
    by: str | None = Field(description="who or what has it skipped: a run, a calendar, a person")
    fires_at: Time | None = Field(description="when it runs, with jitter")
    decided_at: Time
    execution_id: str | None
    status: RunStatus | None
    waits: bool
    collides_with: str | None
    estimated: bool
    positions: list[str]


class ComparedView(Answer):
    """An occurrence by both ways; null: by that one there is none.

    `same`: it runs both ways, or is skipped both ways for one reason. `added`, `removed`: it runs one way only.
    `moved`: it runs at another time. `changed`: it is skipped, or waits, otherwise.
    """

    change: Change
    was: DecidedView | None
    would: DecidedView | None


class SideView(Answer):
    """One way, summed up.

    `collisions`: occurrences that came while a run of the job was active. `waiting`: those whose runs had to wait.
    """

    occurrences: int
    runs: int
    skipped: dict[str, int] = Field(description="by reason")
    collisions: int
    waiting: int


class TotalsView(Answer):
    """How many occurrences of each kind of change, also of those that aren't listed."""

    same: int
    added: int
    removed: int
    moved: int
    changed: int


class RefusedView(Answer):
    """What somebody did, and would have been refused."""

    at: Time
    command: str
    detail: str


class PausedByFailuresView(Answer):
    """That runs which failed would have paused the job."""

    at: Time
    reason: str


class SpanView(Answer):
    """A span of time by both ways: was (or is) and would be.

    `items`: in order, at most 1,000; where there are more, what differs goes before what is the same, and `truncated`
    says so, or that the span ends early, after `count` occurrences.
    """

    from_: Time = Field(serialization_alias="from")
    to: Time
    was: SideView
    would: SideView
    totals: TotalsView
    items: list[ComparedView]
    truncated: bool
    refused: list[RefusedView]
    paused_by_failures: list[PausedByFailuresView]


class SimulationView(Answer):
    """What a job would have done, and would do, if it were changed so.

    `past`: as if it had been changed at the beginning of the span. `future`: as if it were changed now; null: it wasn't
    asked for. `usual_seconds`: what its runs usually take, the median of the latest `measured_runs` that ended; null:
    none has.
    """

    job_id: str
    revision: int
    changes: list[DifferenceView] = Field(description="of the specification")
    usual_seconds: float | None
    measured_runs: int
    past: SpanView
    future: SpanView | None
    assumptions: list[str] = Field(description="what this goes by")
