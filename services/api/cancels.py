"""Cancelling an execution: at once where no handler is at work, else as soon as that has been stopped."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace as changed

from services.api import answers, door, views
from services.api.archived import Fate
from services.api.idempotency import Idempotency, key_of_request
from services.api.principal import present
from services.api.problems import Problem
from services.api.requests import CancelBody
from services.api.writes import Writes
from shared.domain import ids
from shared.domain.commands import CancelRun
from shared.domain.events import RunCancelled
from shared.domain.run import Run
from shared.eventlog.position import Position

if TYPE_CHECKING:
    from quart import Quart, Response

    from services.api.answers import Reply
    from services.api.deps import Deps
    from services.api.writes import Written
    from shared.eventlog.envelope import Context
    from shared.eventlog.snapshot import Snapshot
    from shared.eventlog.unit import Once

LOOK_EVERY_S = 0.05  # an executor heeds a cancel within a second


class Cancels:
    """The route `POST /executions/{id}/cancel`."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._write = Writes(decider=deps.decider, archive=deps.archive)
        self._once = Idempotency(deps)

    def mount(self, app: Quart) -> None:
        """Add the route."""
        path = f"{answers.BASE}/executions/<run_id>/cancel"
        app.add_url_rule(path, "cancel_execution", self.cancel, methods=["POST"])

    async def cancel(self, run_id: str) -> Response:
        """POST /executions/{id}/cancel: 200 once it has ended, 202 while its handler hasn't been stopped yet."""
        run_id = door.run_id(run_id, partitions=self._deps.log.partitions)
        body = door.body(CancelBody, optional=True, heeds=(door.KEY_HEADER,))
        until_s = self._deps.clock.monotonic() + door.wait_s(self._deps.settings.wait_seconds)
        write = partial(self._cancelled, run_id, body.reason, until_s)
        tell = partial(self._told, run_id)
        return await self._once(key_of_request(body), ids.partition_of(run_id), f"run:{run_id}", write, tell)

    async def _told(self, run_id: str, done: Written) -> Reply:
        state = cast("Run", done.decided.after.state)
        row = await self._deps.ledger.glance(self._deps.ledger.run(run_id))
        view = (
            views.execution_of_row(row)
            if row is not None and done.archived
            else views.execution_of_run(state, row)
        )
        return answers.reply(view, location=answers.execution_path(run_id), done=200 if state.ended else 202)

    async def _cancelled(
        self, run_id: str, reason: str, until_s: float, context: Context, once: tuple[Once, ...]
    ) -> Written:
        command = CancelRun(by=present().id, reason=reason)
        try:
            done = await self._write(
                f"run:{run_id}", command, context, wait_s=self._left_s(until_s), once=once
            )
        except Problem as problem:
            if problem.slug == "not-found":
                await self._refuse_ended(run_id)
            raise
        if done.decided.answered is not None:
            return done
        for change in done.decided.changes:
            if isinstance(change.event, RunCancelled):
                state = cast("Run", done.decided.after.state)
                self._deps.metrics.runs_finished_total.labels(state.spec.job_type, state.status.value).inc()
        return await self._heeded(done, until_s)

    async def _refuse_ended(self, run_id: str) -> None:
        """A run leaves Redis a minute after its end.

        Raises:
            Problem: 409, if there was such a run.
        """
        row = await self._deps.ledger.run(run_id)
        if row is not None:
            said = f"run {run_id} has ended already: it is {row['status']}"
            raise Problem("illegal-transition", said, current=row["status"])

    async def _heeded(self, done: Written, until_s: float) -> Written:
        """Wait for the end of a running run, which may be another than was asked for: then its result was first."""
        ref, after = done.decided.ref, done.decided.after
        while not cast("Run", after.state).ended and self._left_s(until_s) > 0:
            await asyncio.sleep(LOOK_EVERY_S)
            after = (await self._deps.log.load(ref))[ref]
            if not isinstance(after.state, Run):
                return done
        if after is done.decided.after:
            return done
        return await self._ended(done, after, until_s)

    async def _ended(self, done: Written, after: Snapshot, until_s: float) -> Written:
        position = Position.parse(cast("str", after.version))
        fate = await self._deps.archive.fate(done.decided.partition, position, None, self._left_s(until_s))
        return replace(
            done,
            decided=changed(done.decided, after=after),
            position=position,
            archived=fate is Fate.ARCHIVED,
        )

    def _left_s(self, until_s: float) -> float:
        return max(0.0, until_s - self._deps.clock.monotonic())
