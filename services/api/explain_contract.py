"""What the explanations answer."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field

from services.api.explaining.codes import MEANINGS, Code
from services.api.explaining.finding import Words
from services.api.responses import Answer, Time
from shared.eventlog.envelope import event_type, rfc3339

if TYPE_CHECKING:
    from services.api.explaining.finding import Explanation, Finding
    from shared.eventlog.envelope import Recorded


class EventRefView(Answer):
    """An event that something is told from: `position` and `id` as GET /events has them."""

    position: str
    id: str
    type: str


class FindingView(Answer):
    """One thing that was found."""

    code: Code = Field(description="; ".join(f"{code}: {said}" for code, said in MEANINGS.items()))
    sentence: str
    at: Time
    local_time: str = Field(
        description="`at` as the clock on the wall reads in the job's zone, with its offset"
    )
    events: list[EventRefView] = Field(
        description="none where what is told stands in no event that is still there"
    )
    details: dict[str, Any] = Field(description="what the sentence says, for programs; by code")


class ExplanationView(Answer):
    """Why something ran, or did not, told from events alone: findings in order, and all of it in one sentence."""

    job_id: str
    execution_id: str | None
    timezone: str
    summary: str
    findings: list[FindingView]


def shown(told: Explanation, *, job_id: str, run_id: str | None = None) -> ExplanationView:
    """An explanation as clients get it."""
    findings = [_finding(each, Words(told.timezone, each.at)) for each in told.findings]
    return ExplanationView(
        job_id=job_id, execution_id=run_id, timezone=told.timezone, summary=told.summary, findings=findings
    )


def _finding(found: Finding, words: Words) -> FindingView:
    return FindingView(
        code=found.code,
        sentence=found.sentence,
        at=found.at,
        local_time=words.local(found.at),
        events=[_event(each) for each in found.events],
        details={name: _plain(value) for name, value in found.details.items()},
    )


def _event(recorded: Recorded) -> EventRefView:
    return EventRefView(position=recorded.place, id=recorded.id, type=event_type(recorded.type))


def _plain(value: Any) -> Any:
    """With times as all answers have them."""
    return rfc3339(value) if isinstance(value, datetime) else value
