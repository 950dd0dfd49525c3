"""Executions: the runs of one job, of all jobs, and one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from services.api import answers, door, lists, reads, responses, views

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
        return answers.answer(views.execution_of_row(row))

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
