"""Executions: the runs of one job, of all jobs, and one of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.api import answers, door, reads, views
from services.api.ledger import GLANCE_S
from services.api.list_query import LIST_EXECUTIONS, LIST_JOB_EXECUTIONS
from services.api.lists import Lists
from services.api.problems import Problem
from shared.faults import is_broken

if TYPE_CHECKING:
    from quart import Quart, Response

    from services.api.deps import Deps


class Runs:
    """The routes about executions."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._lists = Lists(deps)

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
        return await self._lists.answer(LIST_EXECUTIONS, views.execution_of_row)

    async def of_job(self, job_id: str) -> Response:
        """GET /jobs/{id}/executions; a deleted job's stay readable."""
        job_id = self._job_id(job_id)
        answer = await self._lists.answer(
            LIST_JOB_EXECUTIONS, views.execution_of_row, scope={"job_id": job_id}
        )
        if not await self._deps.ledger.job_exists(job_id):
            raise door.no_such("job")
        return answer

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
