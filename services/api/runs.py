"""Executions: the runs of one job, of all jobs, and one of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args

from services.api import answers, door, lists, reads, responses, views
from services.api.ledger import GLANCE_S
from services.api.problems import Problem
from shared.faults import is_broken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart import Quart, Response

    from services.api.deps import Deps

STATUSES: tuple[str, ...] = get_args(responses.RunStatus)
ERROR = ("error_class", "error_fingerprint")


class Runs:
    """The routes about executions."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        base = answers.BASE
        app.add_url_rule(f"{base}/executions", "list_executions", self.list, methods=["GET"])
        app.add_url_rule(f"{base}/executions/<run_id>", "get_execution", self.get, methods=["GET"])
        app.add_url_rule(
            f"{base}/executions/<run_id>/output", "get_execution_output", self.output, methods=["GET"]
        )
        app.add_url_rule(
            f"{base}/jobs/<job_id>/executions", "list_job_executions", self.of_job, methods=["GET"]
        )

    async def list(self) -> Response:
        """GET /executions."""
        given = await reads.query(self._deps, *lists.PARAMETERS, "status", "job_type", "job_id", *ERROR)
        job_id = door.id_in(given, "job_id", partitions=self._deps.log.partitions)
        return await self._page(given, job_id)

    async def of_job(self, job_id: str) -> Response:
        """GET /jobs/{id}/executions; a deleted job's stay readable."""
        job_id = self._job_id(job_id)
        given = await reads.query(self._deps, *lists.PARAMETERS, "status")
        if not await self._deps.ledger.job_exists(job_id):
            raise door.no_such("job")
        return await self._page(given, job_id)

    async def get(self, run_id: str) -> Response:
        """GET /executions/{id}."""
        run_id = door.run_id(run_id, partitions=self._deps.log.partitions)
        await reads.query(self._deps)
        row = await self._deps.ledger.run(run_id)
        if row is None:
            raise door.no_such("execution")
        told = await self._progress(run_id) if row["status"] == "running" else None
        return answers.answer(views.execution_of_row(row, views.progress(told)))

    async def output(self, run_id: str) -> Response:
        """GET /executions/{id}/output."""
        run_id = door.run_id(run_id, partitions=self._deps.log.partitions)
        given = await reads.query(self._deps, "attempt")
        attempt = door.whole(given, "attempt", 0, most=1_000_000, beyond="no run has so many") or None
        if await self._deps.ledger.run(run_id) is None:
            raise door.no_such("execution")
        found = views.output_of_rows(await self._deps.ledger.outputs(run_id), attempt)
        if found is None:
            raise Problem(
                "not-found", f"Attempt {attempt} of this execution has logged nothing, or there was none."
            )
        return answers.answer(found)

    async def _progress(self, run_id: str) -> str | None:
        """How far its handler is; that stands in Redis only, and an answer can do without it."""
        try:
            async with asyncio.timeout(GLANCE_S):
                return await self._deps.log.progress(f"run:{run_id}")
        except Exception as error:
            if not is_broken(error):
                raise
            return None

    def _job_id(self, text: str) -> str:
        return door.job_id(text, partitions=self._deps.log.partitions)

    async def _page(self, given: Mapping[str, str], job_id: str | None) -> Response:
        page = lists.page_of(given, default_size=self._deps.settings.jobs_per_page)
        found = await self._deps.ledger.runs(
            job_id=job_id,
            status=door.one_of(given, "status", STATUSES),
            job_type=door.word(given, "job_type"),
            error_class=door.word(given, "error_class"),
            error_fingerprint=door.word(given, "error_fingerprint"),
            limit=page.size,
            offset=page.offset,
        )
        items = [views.execution_of_row(row) for row in found.rows]
        return answers.answer(lists.listed(items, page, found.counted))
