"""Jobs: made, looked at, changed, and told to pause, resume or run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from quart import Response

from services.api import answers, door, preconditions, reads, revisions, views
from services.api.chains import Chains
from services.api.held import held_job
from services.api.idempotency import Idempotency, key_of_request, partition_of
from services.api.job_specs import JobSpecs, Quota
from services.api.list_query import LIST_JOBS
from services.api.lists import Lists
from services.api.moments import AS_OF
from services.api.past import Past, wants_past
from services.api.pauses import pause_of, resume_of
from services.api.principal import present
from services.api.problems import Problem, of_refusal
from services.api.requests import (
    JobBody,
    PauseBody,
    ResumeBody,
    RevertBody,
    SkipBody,
    TriggerBody,
    UnskipBody,
    read,
)
from services.api.turns import Turns
from services.api.writes import Writes
from shared import logs
from shared.domain import ids
from shared.domain.commands import (
    CreateJob,
    DeleteJob,
    JobCommand,
    SkipOccurrence,
    TriggerJob,
    UnskipOccurrence,
    UpdateJob,
)
from shared.domain.refusals import StaleRevision
from shared.eventlog.position import Position
from shared.eventlog.snapshot import NOTHING, Snapshot

if TYPE_CHECKING:
    from quart import Quart

    from services.api.answers import Reply
    from services.api.deps import Deps
    from services.api.writes import Written
    from shared.domain.job import Job
    from shared.domain.run import Run
    from shared.eventlog.envelope import Context
    from shared.eventlog.once import Key
    from shared.eventlog.unit import Once

MERGES = 5  # of one patch, each over a newer revision: so many edits within milliseconds are a quarrel


class Jobs:
    """The routes under /api/v1/jobs that are about the job itself."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._write = Writes(decider=deps.decider, archive=deps.archive, chains=Chains(deps.log))
        self._once = Idempotency(deps)
        self._lists = Lists(deps)
        self._past = Past(deps)
        self._specs, self._quota = JobSpecs(deps), Quota(deps)
        self._turns = Turns(deps.log.partitions, first=deps.chance(), clock=deps.clock)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        base = f"{answers.BASE}/jobs"
        app.add_url_rule(base, "list_jobs", self.list, methods=["GET"])
        app.add_url_rule(base, "create_job", self.create, methods=["POST"])
        app.add_url_rule(f"{base}/<job_id>", "get_job", self.get, methods=["GET"])
        app.add_url_rule(f"{base}/<job_id>", "replace_job", self.replace, methods=["PUT"])
        app.add_url_rule(f"{base}/<job_id>", "patch_job", self.merge, methods=["PATCH"])
        app.add_url_rule(f"{base}/<job_id>", "delete_job", self.delete, methods=["DELETE"])
        app.add_url_rule(f"{base}/<job_id>/pause", "pause_job", self.pause, methods=["POST"])
        app.add_url_rule(f"{base}/<job_id>/resume", "resume_job", self.resume, methods=["POST"])
        app.add_url_rule(f"{base}/<job_id>/skip", "skip_occurrence", self.skip, methods=["POST"])
        app.add_url_rule(f"{base}/<job_id>/unskip", "unskip_occurrence", self.unskip, methods=["POST"])
        app.add_url_rule(f"{base}/<job_id>/trigger", "trigger_job", self.trigger, methods=["POST"])
        app.add_url_rule(f"{base}/<job_id>/revert", "revert_job", self.revert, methods=["POST"])

    async def list(self) -> Response:
        """GET /jobs; `as_of`: as they were."""
        if wants_past():
            return await self._past.jobs()
        return await self._lists.answer(LIST_JOBS, views.job_of_row)

    async def get(self, job_id: str) -> Response:
        """GET /jobs/{id}: 304 to whom it has shown the same before; `as_of`: as it was."""
        job_id = self._id(job_id)
        given = await reads.query(self._deps, AS_OF)
        if AS_OF in given:
            return await self._past.job(job_id, given[AS_OF])
        row = await self._deps.ledger.job(job_id)
        if row is None or row["status"] == "deleted":
            raise door.no_such("job")
        etag = views.etag_of_row(row)
        if preconditions.is_known(etag, door.sent("If-None-Match")):
            return answers.unchanged(etag)
        return answers.answer(views.job_of_row(row), headers={"ETag": etag})

    async def create(self) -> Response:
        """POST /jobs."""
        deps = self._deps
        body = door.body(JobBody, heeds=(door.KEY_HEADER,))
        key = key_of_request(body)
        partition = (
            self._turns.present() if key is None else partition_of(key, partitions=deps.log.partitions)
        )
        job_id = ids.chance_id(deps.log.now(), partition, deps.chance())

        async def write(context: Context, once: tuple[Once, ...]) -> Written:
            spec, principal = self._specs.checked(body), present()
            if await self._quota.left(principal) == 0:
                raise self._quota.full(principal)
            spec = await self._specs.sealed(spec, job_id, principal.tenant)
            command = CreateJob(job_id=job_id, spec=spec, owner=principal.id, tenant=principal.tenant)
            return await self._decided(job_id, command, NOTHING, context, once)

        async def tell(done: Written) -> Reply:
            deps.metrics.jobs_created_total.inc()
            self._log.info("job created", job_id=job_id, job_type=body.job_type)
            return self._of_state(done, views.Seen(), done=201)

        return await self._once(key, partition, f"job:{job_id}", write, tell)

    async def replace(self, job_id: str) -> Response:
        """PUT /jobs/{id}."""
        job_id = self._id(job_id)
        spec = self._specs.checked(door.body(JobBody, heeds=(preconditions.IF_MATCH,)))
        wanted = self._wanted(edits=True)
        job, held = await held_job(self._deps.log, self._write, job_id)
        spec = await self._specs.sealed(spec, job_id, job.tenant)
        return await self._changed(
            job_id, UpdateJob(spec=spec, if_revision=wanted), "job replaced", held=held
        )

    async def merge(self, job_id: str) -> Response:
        """PATCH /jobs/{id}: merged over the job as it is shown, and decided on the revision that it was merged over."""
        job_id = self._id(job_id)
        patch, wanted = door.merge_patch(), self._wanted(edits=True)
        for tries_left in reversed(range(MERGES)):
            job, held = await held_job(self._deps.log, self._write, job_id)
            if wanted is not None and job.revision not in wanted:
                raise await self._stale(job_id, of_refusal(StaleRevision()))
            command = UpdateJob(spec=await self._specs.patched(job, patch), if_revision=(job.revision,))
            try:
                return await self._changed(job_id, command, "job patched", held=held)
            except Problem as problem:
                if problem.slug != "precondition-failed" or not tries_left:
                    raise
        raise AssertionError("unreachable")

    async def revert(self, job_id: str) -> Response:
        """POST /jobs/{id}/revert: the specification of an earlier revision, as a new one."""
        job_id = self._id(job_id)
        body = door.body(RevertBody, heeds=door.CONDITIONS)
        wanted = self._wanted(edits=True)
        key = key_of_request(body)
        partition = ids.partition_of(job_id)

        async def write(context: Context, once: tuple[Once, ...]) -> Written:
            old = await revisions.specification(self._deps.ledger, job_id, body.revision)
            plain = await self._specs.opened(old, job_id)
            spec = self._specs.checked(read(JobBody, views.body_of_spec(plain)))
            job, held = await held_job(self._deps.log, self._write, job_id)
            spec = await self._specs.sealed(spec, job_id, job.tenant)
            return await self._decided(job_id, UpdateJob(spec=spec, if_revision=wanted), held, context, once)

        return await self._once(
            key, partition, f"job:{job_id}", write, partial(self._told, job_id, "job reverted")
        )

    async def pause(self, job_id: str) -> Response:
        """POST /jobs/{id}/pause."""
        job_id = self._id(job_id)
        body = door.body(PauseBody, optional=True, heeds=door.CONDITIONS)
        key = key_of_request(body)
        if key is not None and body.until is not None:  # which may be past when it is sent again
            again = await self._once.again(key, ids.partition_of(job_id))
            if again is not None:
                return again
        command = pause_of(body, now=self._deps.log.now(), if_revision=self._wanted())
        return await self._changed(job_id, command, "job paused", key=key)

    async def resume(self, job_id: str) -> Response:
        """POST /jobs/{id}/resume."""
        job_id = self._id(job_id)
        body = door.body(ResumeBody, optional=True, heeds=door.CONDITIONS)
        command = resume_of(body, if_revision=self._wanted())
        return await self._changed(job_id, command, "job resumed", key=key_of_request(body))

    async def skip(self, job_id: str) -> Response:
        """POST /jobs/{id}/skip."""
        job_id = self._id(job_id)
        body = door.body(SkipBody, heeds=door.CONDITIONS)
        command = SkipOccurrence(
            scheduled_for=body.scheduled_for,
            by=present().id,
            reason=body.reason,
            if_revision=self._wanted(),
        )
        return await self._changed(job_id, command, "occurrence skipped", key=key_of_request(body))

    async def unskip(self, job_id: str) -> Response:
        """POST /jobs/{id}/unskip."""
        job_id = self._id(job_id)
        body = door.body(UnskipBody, heeds=door.CONDITIONS)
        command = UnskipOccurrence(
            scheduled_for=body.scheduled_for, by=present().id, if_revision=self._wanted()
        )
        return await self._changed(job_id, command, "occurrence unskipped", key=key_of_request(body))

    async def delete(self, job_id: str) -> Response:
        """DELETE /jobs/{id}."""
        job_id = self._id(job_id)
        door.no_conditions_but(preconditions.IF_MATCH)
        door.no_parameters()
        command = DeleteJob(by=present().id, if_revision=self._wanted(edits=True))
        done = await self._decided(job_id, command, None, door.context(), ())
        self._log.info("job deleted", job_id=job_id)
        headers = {door.POSITION_HEADER: done.place}
        if done.archived:
            return Response("", 204, headers)
        return Response("", 202, headers | {"Location": answers.job_path(job_id)})

    async def trigger(self, job_id: str) -> Response:
        """POST /jobs/{id}/trigger."""
        deps = self._deps
        job_id = self._id(job_id)
        body = door.body(TriggerBody, optional=True, heeds=door.CONDITIONS)
        wanted = self._wanted()
        partition = ids.partition_of(job_id)
        run_id = ids.chance_id(deps.log.now(), partition, deps.chance())

        async def write(context: Context, once: tuple[Once, ...]) -> Written:
            ref = f"job:{job_id}"
            held = (await deps.log.load(ref))[ref] if body.job_data is not None else None
            await self._write.refuse_foreign(held)
            command = TriggerJob(
                run_id=run_id,
                correlation_id=context.corr,
                job_data=await self._specs.triggered(held, body.job_data),
                priority=body.priority,
                overlap_policy=body.overlap_policy,
                if_revision=wanted,
            )
            return await self._decided(job_id, command, held, context, once)

        async def tell(done: Written) -> Reply:
            run = cast("Run", done.decided.states[f"run:{run_id}"].state)
            view = views.execution_of_state(run, queued_at=ids.from_ms(cast("int", done.decided.at_ms)))
            return answers.reply(view, location=answers.execution_path(run_id), done=201)

        return await self._once(key_of_request(body), partition, f"run:{run_id}", write, tell)

    def _id(self, text: str) -> str:
        return door.job_id(text, partitions=self._deps.log.partitions)

    def _wanted(self, *, edits: bool = False) -> tuple[int, ...] | None:
        """The revisions that the request may be carried out on."""
        required = edits and self._deps.settings.require_if_match
        return preconditions.revisions(door.sent(preconditions.IF_MATCH), required=required)

    async def _decided(
        self,
        job_id: str,
        command: JobCommand,
        held: Snapshot | None,
        context: Context,
        once: tuple[Once, ...],
    ) -> Written:
        wait_s = door.wait_s(self._deps.settings.wait_seconds)
        try:
            done = await self._write(f"job:{job_id}", command, context, wait_s=wait_s, held=held, once=once)
        except Problem as problem:
            raise (
                await self._stale(job_id, problem) if problem.slug == "precondition-failed" else problem
            ) from None
        self._deps.metrics.count_occurrences(done.decided.changes, self._deps.log.now())
        self._deps.metrics.count_ends(done.decided.ended)
        return done

    async def _stale(self, job_id: str, problem: Problem) -> Problem:
        """The 412 with the revision that the job is at now, and its ETag."""
        job, held = await held_job(self._deps.log, self._write, job_id)
        row = None if held.version else await self._deps.ledger.job(job_id)  # over, and left Redis
        position = (
            Position.parse(held.version) if held.version else row and Position(row["epoch"], row["pos"])
        )
        headers = {"ETag": views.etag(job.revision, position)} if position else {}
        return Problem(problem.slug, problem.detail, current=str(job.revision), headers=headers)

    async def _changed(
        self,
        job_id: str,
        command: JobCommand,
        said: str,
        *,
        held: Snapshot | None = None,
        key: Key | None = None,
    ) -> Response:
        write = partial(self._decided, job_id, command, held)
        tell = partial(self._told, job_id, said)
        return await self._once(key, ids.partition_of(job_id), f"job:{job_id}", write, tell)

    async def _told(self, job_id: str, said: str, done: Written) -> Reply:
        """The job as the ledger has it once that has the change, else as the write model does."""
        if done.decided.last is not None:
            self._log.info(said, job_id=job_id)
        row = await self._deps.ledger.glance(self._deps.ledger.job(job_id))
        if row is not None and done.archived and row["status"] != "deleted":
            location = answers.job_path(job_id)
            return answers.reply(views.job_of_row(row), location=location, etag=views.etag_of_row(row))
        return self._of_state(done, views.seen(row))

    def _of_state(self, what: Written, known: views.Seen, *, done: int = 200) -> Reply:
        job = cast("Job", what.decided.after.state)
        etag = views.etag(job.revision, Position.parse(what.decided.after.version or str(what.position)))
        view = views.job_of_state(job, known)
        return answers.reply(view, location=answers.job_path(job.id), done=done, etag=etag)
