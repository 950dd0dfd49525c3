"""Revisions of a job: who changed what, and when, from the events in the archive."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from services.api import answers, door, lists, reads, views
from services.api.json_patch import differences
from services.api.problems import Fault, Problem, invalid, unavailable
from services.api.responses import RevisionJobView, RevisionView
from shared.domain.events import JobCreated, JobUpdated
from shared.eventlog.envelope import UnknownEvent, event_type
from shared.recovery import recorded

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg
    from quart import Quart, Response

    from services.api.deps import Deps
    from services.api.ledger import Ledger
    from shared.domain.spec import JobSpec

REVISION_MAX = 1_000_000_000


class Revisions:
    """The routes that read the revisions of a job; a deleted job's stay readable."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        base = f"{answers.BASE}/jobs/<job_id>"
        app.add_url_rule(f"{base}/revisions", "list_job_revisions", self.list, methods=["GET"])
        app.add_url_rule(f"{base}/revisions/<number>", "get_job_revision", self.get, methods=["GET"])
        app.add_url_rule(f"{base}/diff", "diff_job_revisions", self.diff, methods=["GET"])

    async def list(self, job_id: str) -> Response:
        """GET /jobs/{id}/revisions, newest first."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        given = await reads.query(self._deps, *lists.PARAMETERS)
        page = lists.page_of(given, default_size=self._deps.settings.jobs_per_page)
        found = await self._deps.ledger.revisions(job_id, limit=page.size, offset=page.offset)
        if not found.counted:
            raise door.no_such("job")
        return answers.answer(lists.listed([_edit(row) for row in found.rows], page, found.counted))

    async def get(self, job_id: str, number: str) -> Response:
        """GET /jobs/{id}/revisions/{n}."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        await reads.query(self._deps)
        if not re.fullmatch(r"[0-9]{1,10}", number) or int(number) > REVISION_MAX:
            raise no_such_revision(number[:20])
        row = await _found(self._deps.ledger, job_id, int(number))
        job = views.job_of_spec(_event(row).spec)
        return answers.answer(RevisionJobView(**_edit(row).model_dump(), job=job))

    async def diff(self, job_id: str) -> Response:
        """GET /jobs/{id}/diff?from=&to=."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        given = await reads.query(self._deps, "from", "to")
        older, newer = (_required(given, name) for name in ("from", "to"))
        old, new = [await self._body(job_id, number) for number in (older, newer)]
        changes = list(differences(old, new))
        return answers.answer(json.dumps({"from": older, "to": newer, "changes": changes}))

    async def _body(self, job_id: str, number: int) -> dict[str, Any]:
        return views.body_of_spec(await specification(self._deps.ledger, job_id, number))


async def specification(ledger: Ledger, job_id: str, number: int) -> JobSpec:
    """What a client had set at this revision.

    Raises:
        Problem: 404; 503 if a newer Daybook wrote it.
    """
    return _event(await _found(ledger, job_id, number)).spec


def no_such_revision(number: object) -> Problem:
    """The 404 of a revision."""
    return Problem(
        "not-found", f"The job has no revision {number}, or there is no such job; look it up in the list."
    )


async def _found(ledger: Ledger, job_id: str, number: int) -> asyncpg.Record:
    row = await ledger.revision(job_id, number) if number else None
    if row is None:
        raise no_such_revision(number)
    return row


def _event(row: asyncpg.Record) -> JobCreated | JobUpdated:
    try:
        event = recorded(row).change().event
    except UnknownEvent:
        raise unavailable(
            "The revision was made by a newer version of Daybook; an upgrade is under way."
        ) from None
    assert isinstance(event, JobCreated | JobUpdated)  # noqa: S101 - the query asks for no other
    return event


def _edit(row: asyncpg.Record) -> RevisionView:
    event, envelope = _event(row), recorded(row)
    number, at = (
        (event.revision, event.updated_at) if isinstance(event, JobUpdated) else (1, event.created_at)
    )
    return RevisionView(
        revision=number,
        at=at,
        by=envelope.actor,
        type=event_type(envelope.type),
    )


def _required(given: Mapping[str, str], name: str) -> int:
    number = door.whole(given, name, 0, most=REVISION_MAX, beyond="no job has so many revisions")
    if not number:
        raise invalid(Fault(pointer=f"?{name}", detail="is required: the number of a revision"))
    return number
