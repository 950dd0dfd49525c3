"""Events: the story of a job and its runs, as CloudEvents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from services.api import answers, door, list_query, lists, reads
from services.api.list_sql import Key
from services.api.lists import Lists
from services.api.principal import wall
from shared.eventlog.envelope import cloudevent
from shared.recovery import recorded

if TYPE_CHECKING:
    from quart import Quart, Response

    from services.api.deps import Deps


class Events:
    """The routes about events."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._lists = Lists(deps)

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        app.add_url_rule(
            f"{answers.BASE}/jobs/<job_id>/events", "list_job_events", self.of_job, methods=["GET"]
        )

    async def of_job(self, job_id: str) -> Response:
        """GET /jobs/{id}/events, newest first; a deleted job's stay readable."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        given = await reads.query(self._deps, *list_query.PAGES, *list_query.SLICES)
        what_for = f"list_job_events {job_id} {wall()}"
        part = self._lists.part(given, what_for)
        ledger = self._deps.ledger
        if isinstance(part, lists.Page):
            found = await ledger.events(job_id, limit=part.size, offset=part.offset)
        else:
            before = part.after and int(part.after.id)
            found = await ledger.events(job_id, limit=part.size + 1, before=before)
        if not found.counted:
            raise door.no_such("job")
        items = [cloudevent(recorded(row), prefix=self._deps.log.prefix) for row in found.rows[: part.size]]
        if isinstance(part, lists.Page):
            return lists.paged(items, part, found.counted)
        place = Key(None, str(found.rows[part.size - 1]["pos"])) if len(found.rows) > part.size else None
        return self._lists.sliced([json.dumps(item) for item in items], place, what_for)
