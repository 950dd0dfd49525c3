"""Jobs: made, looked at, changed, and told to pause, resume or run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from quart import Response

from services.api import answers, door, lists, reads, views
from services.api.principal import present
from services.api.problems import Problem
from services.api.requests import JobBody, PauseBody, ResumeBody, TriggerBody
from services.api.specs import merged_data, spec_of
from services.api.turns import Turns
from services.api.writes import Writes
from shared import logs
from shared.domain import ids
from shared.domain.commands import (
    CreateJob,
    DeleteJob,
    JobCommand,
    PauseJob,
    ResumeJob,
    TriggerJob,
    UpdateJob,
)
from shared.domain.job import Job
from shared.eventlog.position import Position
from shared.eventlog.snapshot import NOTHING, Snapshot

if TYPE_CHECKING:
    from quart import Quart

    from services.api.deps import Deps
    from services.api.principal import Principal
    from services.api.writes import Written
    from shared.domain.run import Run

STATUSES = ("pending", "paused", "running", "failed", "completed")


class Jobs:
    """The routes under /api/v1/jobs that are about the job itself."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._write = Writes(decider=deps.decider, archive=deps.archive)
        self._turns = Turns(deps.log.partitions, first=deps.chance(), clock=deps.clock)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        base = f"{answers.BASE}/jobs"
        app.add_url_rule(base, "list_jobs", self.list, methods=["GET"])
        app.add_url_rule(base, "create_job", self.create, methods=["POST"])
        app.add_url_rule(f"{base}/<job_id>", "get_job", self.get, methods=["GET"])
        app.add_url_rule(f"{base}/<job_id>", "replace_job", self.replace, methods=["PUT"])
        app.add_url_rule(f"{base}/<job_id>", "delete_job", self.delete, methods=["DELETE"])
        app.add_url_rule(f"{base}/<job_id>/pause", "pause_job", self.pause, methods=["POST"])
        app.add_url_rule(f"{base}/<job_id>/resume", "resume_job", self.resume, methods=["POST"])
        app.add_url_rule(f"{base}/<job_id>/trigger", "trigger_job", self.trigger, methods=["POST"])

    async def list(self) -> Response:
        """GET /jobs."""
        given = await reads.query(self._deps, *lists.PARAMETERS, "status", "job_type")
        page = lists.page_of(given, default_size=self._deps.settings.jobs_per_page)
        found = await self._deps.ledger.jobs(
            status=door.one_of(given, "status", STATUSES),
            job_type=door.word(given, "job_type"),
            limit=page.size,
            offset=page.offset,
        )
        return answers.answer(
            lists.listed([views.job_of_row(row) for row in found.rows], page, found.counted)
        )

    async def get(self, job_id: str) -> Response:
        """GET /jobs/{id}."""
        job_id = self._id(job_id)
        await reads.query(self._deps)
        row = await self._deps.ledger.job(job_id)
        if row is None or row["status"] == "deleted":
            raise door.no_such("job")
        return answers.answer(views.job_of_row(row), headers={"ETag": views.etag_of_row(row)})

    async def create(self) -> Response:
        """POST /jobs."""
        deps = self._deps
        body = door.body(JobBody)
        spec = spec_of(body, known=deps.known, files_roots=deps.settings.files_roots)
        principal = present()
        await self._keep_quota(principal)
        job_id = ids.chance_id(deps.log.now(), self._turns.present(), deps.chance())
        command = CreateJob(job_id=job_id, spec=spec, owner=principal.id, tenant=principal.tenant)
        done = await self._decided(job_id, command, held=NOTHING)
        deps.metrics.jobs_created_total.inc()
        self._log.info("job created", job_id=job_id, job_type=spec.job_type)
        return self._of_state(done, views.Seen(), done=201)

    async def replace(self, job_id: str) -> Response:
        """PUT /jobs/{id}."""
        job_id = self._id(job_id)
        body = door.body(JobBody)
        spec = spec_of(body, known=self._deps.known, files_roots=self._deps.settings.files_roots)
        return await self._changed(job_id, UpdateJob(spec=spec), "job replaced")

    async def pause(self, job_id: str) -> Response:
        """POST /jobs/{id}/pause."""
        job_id = self._id(job_id)
        body = door.body(PauseBody, optional=True)
        return await self._changed(job_id, PauseJob(by=present().id, reason=body.reason), "job paused")

    async def resume(self, job_id: str) -> Response:
        """POST /jobs/{id}/resume."""
        job_id = self._id(job_id)
        door.body(ResumeBody, optional=True)
        return await self._changed(job_id, ResumeJob(by=present().id), "job resumed")

    async def delete(self, job_id: str) -> Response:
        """DELETE /jobs/{id}."""
        job_id = self._id(job_id)
        door.no_later_headers()
        door.no_parameters()
        done = await self._decided(job_id, DeleteJob(by=present().id))
        self._log.info("job deleted", job_id=job_id)
        headers = {door.POSITION_HEADER: done.place}
        if done.archived:
            return Response("", 204, headers)
        return Response("", 202, headers | {"Location": answers.job_path(job_id)})

    async def trigger(self, job_id: str) -> Response:
        """POST /jobs/{id}/trigger."""
        deps = self._deps
        job_id = self._id(job_id)
        body = door.body(TriggerBody, optional=True)
        held = (await deps.log.load(f"job:{job_id}"))[f"job:{job_id}"] if body.job_data is not None else None
        await self._write.refuse_foreign(held)
        run_id = ids.chance_id(deps.log.now(), ids.partition_of(job_id), deps.chance())
        command = TriggerJob(
            run_id=run_id,
            correlation_id=door.context().corr,
            job_data=self._merged(held, body.job_data),
            priority=body.priority,
            overlap_policy=body.overlap_policy,
        )
        done = await self._decided(job_id, command, held=held)
        self._log.info("job triggered", job_id=job_id, run_id=run_id)
        run = cast("Run", done.decided.states[f"run:{run_id}"].state)
        view = views.execution_of_state(run, queued_at=ids.from_ms(cast("int", done.decided.at_ms)))
        return answers.written(done, view, location=answers.execution_path(run_id), done=201)

    async def _keep_quota(self, principal: Principal) -> None:
        """By the read model: of many made at one moment, or while it doesn't answer, a few jobs may be too many.

        Raises:
            Problem: 409.
        """
        if principal.kind == "anonymous":
            return
        most = self._deps.settings.max_jobs_per_user
        ledger = self._deps.ledger
        if (await ledger.glance(ledger.jobs_of(principal.id, principal.tenant, most=most)) or 0) >= most:
            raise Problem("quota", f"{principal.id} has {most} jobs, which is the limit: delete some.")

    def _id(self, text: str) -> str:
        return door.job_id(text, partitions=self._deps.log.partitions)

    def _merged(self, held: Snapshot | None, over: dict[str, Any] | None) -> dict[str, Any] | None:
        """The data of a triggered run; None for the job's own, and if there is no job: the domain refuses."""
        if over is None or held is None or not isinstance(held.state, Job):
            return None
        spec = held.state.spec
        return merged_data(
            spec.job_type,
            spec.job_data,
            over,
            known=self._deps.known,
            files_roots=self._deps.settings.files_roots,
        )

    async def _decided(self, job_id: str, command: JobCommand, held: Snapshot | None = None) -> Written:
        wait_s = door.wait_s(self._deps.settings.wait_seconds)
        done = await self._write(f"job:{job_id}", command, door.context(), wait_s=wait_s, held=held)
        self._deps.metrics.count_occurrences(done.decided.changes, self._deps.log.now())
        return done

    async def _changed(self, job_id: str, command: JobCommand, said: str) -> Response:
        done = await self._decided(job_id, command)
        if done.decided.last is not None:
            self._log.info(said, job_id=job_id)
        row = await self._deps.ledger.glance(self._deps.ledger.job(job_id))
        if row is not None and done.archived and row["status"] != "deleted":
            location = answers.job_path(job_id)
            return answers.written(
                done, views.job_of_row(row), location=location, etag=views.etag_of_row(row)
            )
        return self._of_state(done, views.seen(row))

    def _of_state(self, what: Written, known: views.Seen, *, done: int = 200) -> Response:
        job = cast("Job", what.decided.after.state)
        etag = views.etag(job.revision, Position.parse(what.decided.after.version or str(what.position)))
        view = views.job_of_state(job, known)
        return answers.written(what, view, location=answers.job_path(job.id), done=done, etag=etag)
