"""Problems (RFC 9457): every 4xx and 5xx, with a sentence that says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.domain.refusals import (
    IllegalTransition,
    NeverFires,
    NoSuchApiKey,
    NoSuchBackfill,
    NoSuchCalendar,
    NoSuchJob,
    NoSuchOccurrence,
    NoSuchRun,
    Refused,
    StaleRevision,
    UnknownCalendars,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONTENT_TYPE = "application/problem+json"
KINDS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request can't be read"),
    "malformed-json": (400, "The body is not JSON"),
    "unauthorized": (401, "Nobody is known to send this"),
    "forbidden": (403, "This role may not do this"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This method doesn't fit the path"),
    "request-timeout": (408, "The request took too long to arrive"),
    "illegal-transition": (409, "The command doesn't fit the present state"),
    "in-use": (409, "Something needs it"),
    "quota": (409, "There is no room for more"),
    "history-rewound": (409, "The position belongs to a history that was given up"),
    "history-gone": (410, "What is asked for has left the archive"),
    "precondition-failed": (412, "It is not at the revision that the request was made up from"),
    "too-large": (413, "The body is too large"),
    "uri-too-long": (414, "The query is too long"),
    "unsupported-media-type": (415, "The body is not of a type that is read here"),
    "invalid": (422, "The request means nothing here"),
    "never-fires": (422, "The schedule never fires"),
    "no-such-occurrence": (422, "The job is not scheduled for this time"),
    "key-reused": (422, "The Idempotency-Key was used for another request"),
    "not-available-yet": (422, "Not available yet"),
    "precondition-required": (428, "The request must say which revision it was made up from"),
    "too-many-attempts": (429, "Too many attempts have failed"),
    "too-many-streams": (429, "Too many streams are open"),
    "too-many-requests": (429, "Too many requests"),
    "headers-too-large": (431, "The headers are too large"),
    "internal-error": (500, "Something went wrong here"),
    "unavailable": (503, "Not available now"),
    "log-full": (503, "No room for new work"),
}
"""Slug → status, title."""

RETRY_AFTER_S = 1
_BY_STATUS = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
_BY_REFUSAL: dict[type[Refused], str] = {
    NoSuchJob: "not-found",
    NoSuchRun: "not-found",
    NoSuchApiKey: "not-found",
    NoSuchBackfill: "not-found",
    NoSuchCalendar: "not-found",
    IllegalTransition: "illegal-transition",
    NeverFires: "never-fires",
    NoSuchOccurrence: "no-such-occurrence",
    StaleRevision: "precondition-failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong: a JSON pointer into the body, `?parameter` or a header's name, and a sentence."""

    pointer: str
    detail: str


class Problem(Exception):  # noqa: N818 - it is the answer
    """An answer of 4xx or 5xx.

    Attributes:
        slug: of KINDS.
        detail: a sentence that says what to do.
        errors: what is wrong where.
        current: state in the write model (409), revision of the job (412).
        headers: to be sent along.
    """

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        errors: Iterable[Fault] = (),
        current: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.status, self.title = KINDS[slug]
        self.detail = detail
        self.errors = tuple(errors)
        self.current = current
        self.headers = dict(headers or {})
        if self.status == 503:  # noqa: PLR2004 - HTTP's number
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_S))

    def document(self, *, instance: str, correlation_id: str) -> dict[str, Any]:
        """The body; `current` stands in it only where there is one."""
        told: dict[str, Any] = {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "correlation_id": correlation_id,
            "errors": [{"pointer": fault.pointer, "detail": fault.detail} for fault in self.errors],
        }
        return told if self.current is None else told | {"current": self.current}


def invalid(*faults: Fault) -> Problem:
    """The 422 for these faults; "not available yet" if they are all of that kind."""
    later = all(fault.detail.endswith("not available yet") for fault in faults)
    said = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults[:5])
    return Problem("not-available-yet" if later else "invalid", said, errors=faults)


def below(problem: Problem, where: str) -> Problem:
    """The same, told of what stands at the pointer `where` of a larger body."""
    faults = [
        Fault(pointer=where + each.pointer.removeprefix("#"), detail=each.detail) for each in problem.errors
    ]
    if faults:
        told = invalid(*faults)
        return Problem(problem.slug, told.detail, errors=faults, current=problem.current)
    return problem


def of_refusal(refused: Refused) -> Problem:
    """What a refused command is answered with."""
    if isinstance(refused, UnknownCalendars):
        return invalid(
            *(
                Fault(pointer=f"#/exclude_calendars/{index}", detail=f"there is no calendar {name}")
                for index, name in refused.missing
            )
        )
    slug = next(_BY_REFUSAL[cls] for cls in type(refused).__mro__ if cls in _BY_REFUSAL)
    return Problem(slug, refused.detail, current=refused.current)


def of_status(status: int, detail: str, headers: Mapping[str, str]) -> Problem:
    """What the HTTP layer refuses by itself: unknown paths, methods, bodies that are too large."""
    return Problem(_BY_STATUS.get(status, "bad-request"), detail, headers=headers)


def unavailable(what: str) -> Problem:
    """503: infrastructure doesn't answer."""
    return Problem("unavailable", f"{what} Try again in a moment.")
