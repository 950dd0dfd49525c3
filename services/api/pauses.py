"""From bodies to the wishes to pause and to resume, of one job or of many."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from services.api.principal import present
from services.api.problems import Fault, invalid
from shared.domain.commands import PauseJob, ResumeJob

if TYPE_CHECKING:
    from datetime import datetime

    from services.api.requests import PauseBody, ResumeBody

UNTIL_MAX = timedelta(days=3_653)  # a year that is mistyped is refused, not waited for


def pause_of(
    body: PauseBody,
    *,
    now: datetime,
    if_revision: tuple[int, ...] | None = None,
    switch: str | None = None,
) -> PauseJob:
    """The wish that `body` is of the present request; what that leaves out is left to the pause that there is.

    Raises:
        Problem: 422, the end is past or too far.
    """
    given: dict[str, Any] = {
        name: getattr(body, name) for name in ("reason", "until", "catch_up") if name in body.model_fields_set
    }
    if body.until is not None:
        given["until"] = _end(body.until, now)
    return PauseJob(by=present().id, if_revision=if_revision, switch=switch, **given)


def resume_of(
    body: ResumeBody, *, if_revision: tuple[int, ...] | None = None, switch: str | None = None
) -> ResumeJob:
    """The wish that `body` is of the present request."""
    return ResumeJob(by=present().id, catch_up=body.catch_up, if_revision=if_revision, switch=switch)


def _end(until: datetime, now: datetime) -> datetime:
    until = until.astimezone(UTC)
    if not now < until:
        raise invalid(Fault(pointer="#/until", detail="is past: a pause ends in the future"))
    if until - now > UNTIL_MAX:
        raise invalid(Fault(pointer="#/until", detail="is more than ten years ahead"))
    return until.replace(microsecond=until.microsecond // 1000 * 1000)
