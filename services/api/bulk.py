"""Many changes in one request: each is done or refused by itself, all share commits and one wait for the archive.

Operations on one job are decided in their order, each from what the one before has left; jobs are at work side by side.
Under an Idempotency-Key each has a key of its own, derived from it and from its place: who sends the request again
after a crash finds done what is done. The answer is kept only if no operation failed of the server.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace
from quart import g, request

from services.api import answers, door, views
from services.api.bulk_contract import (
    BulkBody,
    BulkCreate,
    BulkDelete,
    BulkPause,
    BulkResume,
    BulkTrigger,
    BulkUpdate,
    operation_of,
)
from services.api.chains import Chains
from services.api.idempotency import Idempotency, Told, key_of_request, partition_of
from services.api.job_specs import JobSpecs, Quota
from services.api.pauses import pause_of, resume_of
from services.api.principal import present
from services.api.problems import Problem, below, invalid, unavailable
from services.api.requests import JobBody, read
from services.api.together import all_of, places
from services.api.turns import Turns
from services.api.writes import Writes
from shared import logs
from shared.domain import ids
from shared.domain.commands import CreateJob, DeleteJob, TriggerJob, UpdateJob
from shared.domain.job import Job, Status
from shared.eventlog.decider import Decided
from shared.eventlog.once import part_of
from shared.eventlog.snapshot import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    from quart import Quart, Response

    from services.api.bulk_contract import Operation
    from services.api.deps import Deps
    from services.api.writes import Written
    from shared.domain.commands import JobCommand
    from shared.domain.run import Run
    from shared.eventlog.envelope import Context
    from shared.eventlog.once import Key
    from shared.eventlog.snapshot import Snapshot

AT_ONCE = 200  # jobs at work: a full commit of each partition, and their snapshots in memory
BEGIN_S = 15.0  # after that no more jobs are taken in hand
MERGES = 5  # of one update, each over a newer revision
SERVER_FAULT = 500
FAULTS_MAX = 20
_STATUS = {"create": 201, "delete": 204, "trigger": 201}


@dataclass(slots=True, kw_only=True)
class _Order:
    """One operation, and what became of it.

    Attributes:
        job_id: of the job; made here for one to be created.
        run_id: of the run that a trigger makes, else ''.
        key: of its own, if the request has one.
    """

    index: int
    asked: Operation
    job_id: str
    run_id: str = ""
    key: Key | None = None
    decided: Decided | None = None
    written: Written | None = None
    problem: Problem | None = None

    @property
    def ref(self) -> str:
        return f"job:{self.job_id}"

    @property
    def answer(self) -> str:
        """What the last event that it writes is about."""
        return f"run:{self.run_id}" if self.run_id else self.ref


@dataclass(slots=True)
class _Batch:
    """A request at work."""

    key: Key | None
    context: Context
    until_s: float
    left: int | None  # how many jobs the principal may still make; None: any number
    failed: dict[int, tuple[str | None, Problem]] = field(default_factory=dict)  # what could not be read
    orders: list[_Order] = field(default_factory=list)


class Bulk:
    """POST /jobs/bulk."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._write = Writes(decider=deps.decider, archive=deps.archive, chains=Chains(deps.log))
        self._once = Idempotency(deps)
        self._specs, self._quota = JobSpecs(deps), Quota(deps)
        self._turns = Turns(deps.log.partitions, first=deps.chance(), clock=deps.clock)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        """Add the route."""
        app.add_url_rule(f"{answers.BASE}/jobs/bulk", "bulk_jobs", self.change, methods=["POST"])

    async def change(self) -> Response:
        """POST /jobs/bulk."""
        body = door.body(BulkBody, heeds=(door.KEY_HEADER,))
        key = key_of_request(body)
        return await self._once.many(key, partial(self._changed, body, key))

    async def _changed(self, body: BulkBody, key: Key | None) -> tuple[Told, bool]:
        """What became of all, and whether the archive has it."""
        batch = await self._begun(body, key)
        if not batch.orders:
            _refuse_unreadable([problem for _, problem in batch.failed.values()])
        groups: defaultdict[str, list[_Order]] = defaultdict(list)
        for order in batch.orders:
            groups[order.ref].append(order)
        await all_of((self._of_job(group, batch) for group in groups.values()), at_once=AT_ONCE)
        await self._archived(batch.orders)
        items = await self._items(batch)
        failed = sum(1 for each in items if each["status"] >= 400)  # noqa: PLR2004 - HTTP's number
        self._log.info("jobs changed in bulk", succeeded=len(items) - failed, failed=failed)
        document = {"items": items, "succeeded": len(items) - failed, "failed": failed}
        written = [order.written for order in batch.orders if order.written]
        told = Told(
            places(written),
            answers.Reply(text=json.dumps(document), location=f"{answers.BASE}/jobs"),
            lasting=all(each["status"] < SERVER_FAULT for each in items),
        )
        return told, all(each.archived for each in written)

    # Reading.

    async def _begun(self, body: BulkBody, key: Key | None) -> _Batch:
        batch = _Batch(key, door.context(), self._deps.clock.monotonic() + BEGIN_S, None)
        turn = self._turns.present()
        for index, tree in enumerate(body.operations):
            try:
                batch.orders.append(self._order(index, tree, key, turn))
            except Problem as problem:
                op = tree.get("op")
                said = below(problem, f"#/operations/{index}")
                batch.failed[index] = (op if isinstance(op, str) else None, said)
        if any(isinstance(order.asked, BulkCreate) for order in batch.orders):
            batch.left = await self._quota.left(present())
        return batch

    def _order(self, index: int, tree: dict[str, Any], key: Key | None, turn: int) -> _Order:
        log = self._deps.log
        asked = operation_of(tree)
        own = None if key is None else part_of(key, index)
        if isinstance(asked, BulkCreate):
            spread = (turn + index) % log.partitions
            partition = spread if own is None else partition_of(own, partitions=log.partitions)
            return _Order(index=index, asked=asked, job_id=self._chance_id(partition), key=own)
        job_id = door.job_id(asked.id, partitions=log.partitions)
        order = _Order(index=index, asked=asked, job_id=job_id, key=own)
        if isinstance(asked, BulkTrigger):
            order.run_id = self._chance_id(ids.partition_of(job_id))
        elif isinstance(asked, BulkUpdate | BulkDelete) and asked.if_revision is None:
            self._refuse_unconditional()
        return order

    def _refuse_unconditional(self) -> None:
        if self._deps.settings.require_if_match:
            raise Problem(
                "precondition-required", "Say if_revision, the revision of the job that you have changed."
            )

    def _chance_id(self, partition: int) -> str:
        return ids.chance_id(self._deps.log.now(), partition, self._deps.chance())

    # Deciding.

    async def _of_job(self, orders: Sequence[_Order], batch: _Batch) -> None:
        """Those on one job, in their order."""
        held: Snapshot | None = NOTHING if isinstance(orders[0].asked, BulkCreate) else None
        for order in orders:
            try:
                if self._deps.clock.monotonic() > batch.until_s:
                    raise unavailable(f"It was not begun within {BEGIN_S:.0f} s.")
                order.decided = await self._decided(order, batch, held)
                held = order.decided.after if order.decided.answered is None else None
            except Problem as problem:
                order.problem = below(problem, f"#/operations/{order.index}")

    async def _decided(self, order: _Order, batch: _Batch, held: Snapshot | None) -> Decided:
        for tries_left in reversed(range(MERGES)):
            try:
                return await self._once_decided(order, batch, held)
            except Problem as problem:
                if (had := await self._had(order, problem)) is not None:
                    return had
                merges = isinstance(order.asked, BulkUpdate) and order.asked.if_revision is None
                if problem.slug != "precondition-failed" or not merges or not tries_left:
                    raise
                held = None
        raise AssertionError("unreachable")

    async def _once_decided(self, order: _Order, batch: _Batch, held: Snapshot | None) -> Decided:
        context = batch.context if order.key is None else replace(batch.context, cause=order.key.cause)
        once = () if order.key is None else (order.key.once(order.answer),)
        if held is None:
            held = (await self._deps.log.load(order.ref))[order.ref]
            await self._write.refuse_foreign(held)
        creates = isinstance(order.asked, BulkCreate)
        if creates and batch.left is not None:
            if batch.left <= 0:
                raise self._quota.full(present())
            batch.left -= 1
        is_made = False
        try:
            command = await self._command(order, held, context)
            decided = await self._write.decide(order.ref, command, context, held=held, once=once)
            is_made = decided.answered is None
        finally:
            if creates and batch.left is not None and not is_made:
                batch.left += 1
        self._deps.metrics.count_occurrences(decided.changes, self._deps.log.now())
        self._deps.metrics.count_ends(decided.ended)
        if creates and is_made:
            self._deps.metrics.jobs_created_total.inc()
        return decided

    async def _had(self, order: _Order, problem: Problem) -> Decided | None:
        """What was done by an earlier request may be what stands in the way of this one."""
        if order.key is None or problem.status >= SERVER_FAULT:
            return None
        log, partition = self._deps.log, ids.partition_of(order.job_id)
        had = await log.answered(partition, order.key.digest)
        if had is None:
            return None
        return Decided(ref=order.ref, partition=partition, before=NOTHING, after=NOTHING, answered=had)

    async def _command(self, order: _Order, held: Snapshot, context: Context) -> JobCommand:
        asked, by = order.asked, present().id
        wanted = None if isinstance(asked, BulkCreate) or asked.if_revision is None else (asked.if_revision,)
        match asked:
            case BulkCreate():
                try:
                    spec = await self._specs.of(read(JobBody, asked.job), order.job_id, present().tenant)
                except Problem as problem:
                    raise below(problem, "#/job") from None
                return CreateJob(job_id=order.job_id, spec=spec, owner=by, tenant=present().tenant)
            case BulkUpdate():
                return await self._update(asked, held, wanted)
            case BulkPause():
                return pause_of(asked, now=self._deps.log.now(), if_revision=wanted)
            case BulkResume():
                return resume_of(asked, if_revision=wanted)
            case BulkDelete():
                return DeleteJob(by=by, if_revision=wanted)
            case BulkTrigger():
                return TriggerJob(
                    run_id=order.run_id,
                    correlation_id=context.corr,
                    job_data=await self._specs.triggered(held, asked.job_data),
                    priority=asked.priority,
                    overlap_policy=asked.overlap_policy,
                    if_revision=wanted,
                )

    async def _update(self, asked: BulkUpdate, held: Snapshot, wanted: tuple[int, ...] | None) -> UpdateJob:
        job = held.state
        if not isinstance(job, Job) or job.status is Status.DELETED:
            raise door.no_such("job")
        try:
            spec = await self._specs.patched(job, asked.job)
        except Problem as problem:
            raise below(problem, "#/job") from None
        return UpdateJob(spec=spec, if_revision=wanted or (job.revision,))

    # Telling.

    async def _archived(self, orders: Sequence[_Order]) -> None:
        """Wait for the archive, once for all."""
        wait_s = door.wait_s(self._deps.settings.wait_seconds)
        done = [order for order in orders if order.decided is not None]
        fates = await all_of(self._write.awaited(cast("Decided", order.decided), wait_s) for order in done)
        for order, written in zip(done, fates, strict=True):
            order.written = written
            if written is None:
                order.problem = unavailable("The log was opened anew meanwhile, without this.")

    async def _items(self, batch: _Batch) -> list[dict[str, Any]]:
        ledger = self._deps.ledger
        wanted = sorted({order.job_id for order in batch.orders if order.written and not order.run_id})
        rows = await ledger.glance(ledger.jobs_with(wanted)) if wanted else None
        known = {str(row["id"]): row for row in rows or ()}
        items = {index: self._failed(index, op, said) for index, (op, said) in batch.failed.items()}
        for order in batch.orders:
            items[order.index] = await self._item(order, known.get(order.job_id))
        return [items[index] for index in sorted(items)]

    async def _item(self, order: _Order, row: asyncpg.Record | None) -> dict[str, Any]:
        if order.written is None:
            return self._failed(order.index, order.asked.op, cast("Problem", order.problem))
        status = _STATUS.get(order.asked.op, 200)
        item: dict[str, Any] = {"index": order.index, "op": order.asked.op, "status": status}
        if order.asked.op == "delete":
            return item
        what = "execution" if order.run_id else "job"
        decided = order.written.decided
        if decided.answered is not None:
            try:
                reply = await self._once.first_answer(decided.partition, decided.answered)
            except Problem as problem:
                return self._failed(order.index, order.asked.op, problem)
            return item | {what: json.loads(reply.text)}
        if order.run_id:
            run = cast("Run", decided.states[f"run:{order.run_id}"].state)
            at = ids.from_ms(cast("int", decided.at_ms))
            view: Any = views.execution_of_state(run, queued_at=at)
        else:
            view = views.job_of_state(cast("Job", decided.after.state), views.seen(row))
        return item | {what: view.model_dump(mode="json", by_alias=True)}

    def _failed(self, index: int, op: str | None, problem: Problem) -> dict[str, Any]:
        document = problem.document(instance=request.path, correlation_id=g.correlation_id)
        return {"index": index, "op": op, "status": problem.status, "problem": document}


def _refuse_unreadable(problems: Sequence[Problem]) -> None:
    """A request of which nothing can be read is refused as a whole.

    Raises:
        Problem: 422, unless something else than its form is wrong with one of them.
    """
    faults = [fault for problem in problems for fault in problem.errors]
    if all(problem.errors for problem in problems):
        raise invalid(*faults[:FAULTS_MAX])
