"""Events: the story of a job and its runs, as CloudEvents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api import answers, door, lists, reads
from shared.eventlog.envelope import cloudevent
from shared.recovery import recorded

if TYPE_CHECKING:
    from quart import Quart, Response

    from services.api.deps import Deps


class Events:
    """The routes about events."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        app.add_url_rule(
            f"{answers.BASE}/jobs/<job_id>/events", "list_job_events", self.of_job, methods=["GET"]
        )

    async def of_job(self, job_id: str) -> Response:
        """GET /jobs/{id}/events, newest first; a deleted job's stay readable."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        given = await reads.query(self._deps, *lists.PARAMETERS)
        page = lists.page_of(given, default_size=self._deps.settings.jobs_per_page)
        found = await self._deps.ledger.events(job_id, limit=page.size, offset=page.offset)
        if not found.counted:
            raise door.no_such("job")
        items = [cloudevent(recorded(row), prefix=self._deps.log.prefix) for row in found.rows]
        return answers.answer(lists.listed(items, page, found.counted))
