"""Dead letters: executions that ended badly, looked at by what they failed of, and run again, one or many."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, cast

from services.api import answers, door, reads, views
from services.api.idempotency import Idempotency, Told, key_of_request
from services.api.ledger import COUNTED_MAX, Chosen
from services.api.problems import unavailable
from services.api.redrive import Redrive
from services.api.requests import RedriveBody, RetryBody
from services.api.responses import ErrorGroupView, ErrorsView, RedriveView
from services.api.retries import (
    Letter,
    Retries,
    letter_of_request,
    letter_of_state,
    refuse_unless_retriable,
)
from services.api.writes import Writes
from shared import logs
from shared.domain import ids
from shared.domain.run import ENDED, Run
from shared.eventlog.opening import entry_at

if TYPE_CHECKING:
    import asyncpg
    from quart import Quart, Response

    from services.api.answers import Reply
    from services.api.deps import Deps
    from services.api.responses import ExecutionView
    from services.api.writes import Written
    from shared.eventlog.envelope import Context
    from shared.eventlog.unit import Once

GROUPS, GROUPS_MAX = 50, 200


class DeadLetters:
    """The routes about what ended badly."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        write = Writes(decider=deps.decider, archive=deps.archive)
        self._write = write
        self._once = Idempotency(deps)
        self._retries = Retries(deps, write)
        self._redrive = Redrive(deps, self._retries, write)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        base = answers.BASE
        app.add_url_rule(f"{base}/executions/<run_id>/retry", "retry_execution", self.retry, methods=["POST"])
        app.add_url_rule(f"{base}/executions/redrive", "redrive_executions", self.redrive, methods=["POST"])
        app.add_url_rule(f"{base}/stats/errors", "list_errors", self.errors, methods=["GET"])

    async def retry(self, run_id: str) -> Response:
        """POST /executions/{id}/retry: 201 for the retry it makes, 200 for the one there is."""
        run_id = door.run_id(run_id, partitions=self._deps.log.partitions)
        body = door.body(RetryBody, optional=True, heeds=(door.KEY_HEADER,))
        key = key_of_request(body)
        partition = ids.partition_of(run_id)
        if key is not None and (told := await self._once.again(key, partition)) is not None:
            return told
        found = await self._found(run_id)
        if not isinstance(found, Letter):
            return self._known(found)
        asked = await self._retries.asked(
            found,
            door.context(),
            over=body.job_data,
            priority=body.priority,
            overlap_policy=body.overlap_policy,
        )
        retry_id = asked.command.run_id

        async def write(context: Context, once: tuple[Once, ...]) -> Written:
            wait_s = door.wait_s(self._deps.settings.wait_seconds)
            return await self._retries.written(asked, context, wait_s=wait_s, once=once)

        async def tell(done: Written) -> Reply:
            view = await self._view(done)
            if done.decided.answered is not None:
                return answers.reply(view, location=answers.execution_path(view.id))
            return answers.reply(view, location=answers.execution_path(view.id), done=201)

        return await self._once(key, partition, f"run:{retry_id}", write, tell)

    async def redrive(self) -> Response:
        """POST /executions/redrive."""
        body = door.body(RedriveBody, heeds=(door.KEY_HEADER,))
        key = key_of_request(body)
        return await self._once.many(None if body.dry_run else key, partial(self._redriven, body))

    async def _redriven(self, body: RedriveBody) -> tuple[Told, bool]:
        """What came of it, and whether the archive has all of that."""
        chosen = Chosen(**body.filter.model_dump())
        if body.dry_run:
            done = await self._redrive.would(chosen, limit=body.limit)
        else:
            done = await self._redrive(
                chosen,
                door.context(),
                limit=body.limit,
                overlap_policy=body.overlap_policy,
                wait_s=door.wait_s(self._deps.settings.wait_seconds),
            )
            self._log.info("executions redriven", retried=len(done.retried), refused=len(done.refused))
        view = RedriveView(
            matched=min(done.counted, COUNTED_MAX),
            total_is_capped=done.counted > COUNTED_MAX,
            retried=done.retried,
            refused=done.refused,
            more=done.more,
            dry_run=body.dry_run,
        )
        return Told(done.place, answers.reply(view, location=f"{answers.BASE}/executions")), done.archived

    async def errors(self) -> Response:
        """GET /stats/errors."""
        given = await reads.query(self._deps, "from", "to", "job_type", "job_id", "limit")
        rows = await self._deps.ledger.errors(
            job_id=door.id_in(given, "job_id", partitions=self._deps.log.partitions),
            job_type=door.word(given, "job_type"),
            since=door.moment(given, "from"),
            until=door.moment(given, "to"),
            limit=door.whole(given, "limit", GROUPS, most=GROUPS_MAX, beyond="narrow the time"),
        )
        return answers.answer(ErrorsView(items=[_group(row) for row in rows]))

    async def _found(self, run_id: str) -> Letter | asyncpg.Record:
        """The run to be retried, or the row of the run that has done so.

        What ended just now is still in Redis, and so is the answer of its retry: Postgres is not asked.

        Raises:
            Problem: 404, or 409 if it hasn't ended badly.
        """
        deps = self._deps
        ref = f"run:{run_id}"
        held = (await deps.log.load(ref))[ref]
        await self._write.refuse_foreign(held)
        state = held.state
        if isinstance(state, Run):
            refuse_unless_retriable(state.status)
            return letter_of_state(state)
        row, again, requests = await asyncio.gather(
            deps.ledger.run(run_id), deps.ledger.retry_of(run_id), deps.ledger.requests_of([run_id])
        )
        if row is None:
            raise door.no_such("execution")
        if row["status"] not in ENDED:  # its end has left Redis, and the archive hasn't heard of it
            raise unavailable("The execution has ended, and the archive has not come to that yet.")
        refuse_unless_retriable(row["status"])
        if again is None and not requests:
            raise door.no_such("execution")
        return again if again is not None else letter_of_request(requests[0])

    def _known(self, row: asyncpg.Record) -> Response:
        place = f"{row['partition']}:{row['epoch']}-{row['pos']}"
        return answers.answer(views.execution_of_row(row), headers={door.POSITION_HEADER: place})

    async def _view(self, done: Written) -> ExecutionView:
        """The retry: of an earlier request as the archive has it, else as it was requested."""
        decided = done.decided
        if decided.answered is None:
            return views.execution_requested(decided.changes[-1], at=ids.from_ms(cast("int", decided.at_ms)))
        ledger = self._deps.ledger
        row = await ledger.glance(ledger.run(decided.answered.answer)) if done.archived else None
        if row is not None:
            return views.execution_of_row(row)
        log = self._deps.log
        entry = await entry_at(log.redis, log.keys(decided.partition), decided.answered.position)
        if entry is None:  # archived and trimmed since
            raise unavailable("The execution was retried before, and is being archived.")
        return views.execution_requested(entry.change(), at=ids.from_ms(entry.at))


def _group(row: asyncpg.Record) -> ErrorGroupView:
    return ErrorGroupView(**dict(row) | {"last_execution_id": str(row["last_execution_id"])})
