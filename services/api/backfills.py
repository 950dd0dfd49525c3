"""Backfills: occurrences of a job that have gone by, asked for, looked at and called off."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from services.api import answers, door, lists, reads, views
from services.api.held import held_job
from services.api.idempotency import Idempotency, key_of_request
from services.api.job_specs import JobSpecs
from services.api.owing import Owing, Span
from services.api.principal import present
from services.api.problems import Problem
from services.api.requests import BackfillBody, CancelBody
from services.api.responses import BackfillDryRunView
from services.api.writes import Writes
from shared import logs
from shared.domain import ids, past
from shared.domain.backfill import Backfill
from shared.domain.commands import CancelBackfill, RequestBackfill

if TYPE_CHECKING:
    from datetime import datetime

    from quart import Quart, Response

    from services.api.answers import Reply
    from services.api.deps import Deps
    from services.api.writes import Written
    from shared.eventlog.envelope import Context
    from shared.eventlog.unit import Once

TRIES = 3  # each by a newer revision: so many edits within a moment are a quarrel
SHOWN = 100


class Backfills:
    """The routes about backfills."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._write = Writes(decider=deps.decider, archive=deps.archive)
        self._once = Idempotency(deps)
        self._specs = JobSpecs(deps)
        self._owing = Owing(deps)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        of_job, one = f"{answers.BASE}/jobs/<job_id>", f"{answers.BASE}/backfills/<backfill_id>"
        app.add_url_rule(f"{of_job}/backfill", "backfill_job", self.request, methods=["POST"])
        app.add_url_rule(f"{of_job}/backfills", "list_job_backfills", self.list, methods=["GET"])
        app.add_url_rule(one, "get_backfill", self.get, methods=["GET"])
        app.add_url_rule(f"{one}/cancel", "cancel_backfill", self.cancel, methods=["POST"])

    async def request(self, job_id: str) -> Response:
        """POST /jobs/{id}/backfill: 201 for the backfill; 200 for what it would be, in a dry run."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        body = door.body(BackfillBody, heeds=(door.KEY_HEADER,))
        key = key_of_request(body)
        if body.dry_run:
            job, _ = await held_job(self._deps.log, self._write, job_id)
            return answers.answer(_would(job_id, body, *await self._owing(job, body)))
        partition = ids.partition_of(job_id)
        backfill_id = ids.chance_id(self._deps.log.now(), partition, self._deps.chance())
        write = partial(self._requested, job_id, backfill_id, body)
        return await self._once(key, partition, f"backfill:{backfill_id}", write, self._made)

    async def list(self, job_id: str) -> Response:
        """GET /jobs/{id}/backfills; a deleted job's stay readable."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        given = await reads.query(self._deps, *lists.PARAMETERS)
        page = lists.page_of(given, default_size=self._deps.settings.jobs_per_page)
        found = await self._deps.ledger.backfills(job_id, limit=page.size, offset=page.offset)
        if not found.counted and not await self._deps.ledger.job_exists(job_id):
            raise door.no_such("job")
        return lists.paged([views.backfill_of_row(row) for row in found.rows], page, found.counted)

    async def get(self, backfill_id: str) -> Response:
        """GET /backfills/{id}."""
        backfill_id = door.backfill_id(backfill_id, partitions=self._deps.log.partitions)
        await reads.query(self._deps)
        row = await self._deps.ledger.backfill(backfill_id)
        if row is None:
            raise door.no_such("backfill")
        return answers.answer(views.backfill_of_row(row))

    async def cancel(self, backfill_id: str) -> Response:
        """POST /backfills/{id}/cancel; already so is no change."""
        backfill_id = door.backfill_id(backfill_id, partitions=self._deps.log.partitions)
        body = door.body(CancelBody, optional=True, heeds=(door.KEY_HEADER,))
        write = partial(self._cancelled, backfill_id, body.reason)
        partition = ids.partition_of(backfill_id)
        return await self._once(key_of_request(body), partition, f"backfill:{backfill_id}", write, self._told)

    async def _requested(
        self, job_id: str, backfill_id: str, body: BackfillBody, context: Context, once: tuple[Once, ...]
    ) -> Written:
        """What was found to be owed by a revision of the job is decided on that revision."""
        for tries_left in reversed(range(TRIES)):
            job, held = await held_job(self._deps.log, self._write, job_id)
            data = await self._specs.triggered(held, body.job_data)
            span, times = await self._owing(job, body)
            command = RequestBackfill(
                backfill_id=backfill_id,
                which=body.which,
                from_=span.since,
                to=span.until,
                times=past.in_ms(times),
                max_parallel=body.max_parallel,
                by=present().id,
                reason=body.reason,
                correlation_id=context.corr,
                job_data=data,
                priority=body.priority,
                if_revision=(job.revision,),
            )
            try:
                return await self._decided(f"job:{job_id}", command, context, once)
            except Problem as problem:
                if problem.slug != "precondition-failed" or not tries_left:
                    raise
        raise AssertionError("unreachable")

    async def _cancelled(
        self, backfill_id: str, reason: str, context: Context, once: tuple[Once, ...]
    ) -> Written:
        command = CancelBackfill(by=present().id, reason=reason)
        try:
            return await self._decided(f"backfill:{backfill_id}", command, context, once)
        except Problem as problem:
            if problem.slug == "not-found":
                await self._refuse_over(backfill_id)
            raise

    async def _refuse_over(self, backfill_id: str) -> None:
        """A backfill leaves Redis an hour after its end.

        Raises:
            Problem: 409, if there was such a backfill.
        """
        row = await self._deps.ledger.backfill(backfill_id)
        if row is not None:
            said = f"backfill {backfill_id} is {row['status']} already"
            raise Problem("illegal-transition", said, current=row["status"])

    async def _decided(
        self, ref: str, command: RequestBackfill | CancelBackfill, context: Context, once: tuple[Once, ...]
    ) -> Written:
        wait_s = door.wait_s(self._deps.settings.wait_seconds)
        done = await self._write(ref, command, context, wait_s=wait_s, once=once)
        self._deps.metrics.count_occurrences(done.decided.changes, self._deps.log.now())
        return done

    async def _made(self, done: Written) -> Reply:
        state = _backfill(done)
        self._log.info(
            "backfill requested", backfill_id=state.id, job_id=state.job_id, runs=len(state.spec.times)
        )
        view = views.backfill_of_state(state)
        return answers.reply(view, location=answers.backfill_path(state.id), done=201)

    async def _told(self, done: Written) -> Reply:
        state = _backfill(done)
        if done.decided.changes:
            self._log.info("backfill cancelled", backfill_id=state.id, job_id=state.job_id)
        return answers.reply(views.backfill_of_state(state), location=answers.backfill_path(state.id))


def _backfill(done: Written) -> Backfill:
    """That which was written about, as it is then."""
    decided = done.decided
    states = [each.state for each in (*decided.states.values(), decided.after)]
    return next(state for state in states if isinstance(state, Backfill))


def _would(job_id: str, body: BackfillBody, span: Span, times: list[datetime]) -> BackfillDryRunView:
    return BackfillDryRunView.model_validate(
        {
            "job_id": job_id,
            "which": body.which,
            "from": span.since,
            "to": span.until,
            "total": len(times),
            "first": times[0] if times else None,
            "last": times[-1] if times else None,
            "times": times[:SHOWN],
        }
    )
