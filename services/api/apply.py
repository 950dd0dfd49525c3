"""A file of jobs made true: what it has and isn't there is made, what differs is changed, what is gone may be deleted.

Everything is validated before anything is written; then each job is decided by itself, on the revision that it was
compared at, and compared again where that has changed. Applies of one owner go one after another, each from what the
last one has left in the archive: so of two at once the end is one of the two files. The lock that sees to this may be
lost without harm to any job: only `prune` could then miss what the other one has just made.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import structs
from redis.exceptions import LockError

from services.api import answers, door, views
from services.api.applied_ids import BOUND, Named, applied_id, digest_of, family_of, generation_of
from services.api.apply_contract import ApplyBody
from services.api.archived import Fate
from services.api.chains import Chains
from services.api.idempotency import Idempotency, Told, key_of_request
from services.api.job_specs import JobSpecs, Quota
from services.api.json_body import pointer
from services.api.json_patch import differences
from services.api.principal import present
from services.api.problems import Fault, Problem, below, invalid, of_refusal, unavailable
from services.api.requests import JobBody, read
from services.api.together import all_of, places
from services.api.writes import Writes
from shared import logs
from shared.domain.commands import CreateJob, DeleteJob, UpdateJob
from shared.domain.job import Job, Status
from shared.domain.refusals import Refused, UnknownCalendars
from shared.eventlog.position import parse_places
from shared.eventlog.snapshot import NOTHING
from shared.eventlog.unit import ONCE_MS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from quart import Quart, Response

    from services.api.deps import Deps
    from services.api.principal import Principal
    from services.api.writes import Written
    from shared.domain.commands import JobCommand
    from shared.domain.spec import JobSpec
    from shared.eventlog.decider import Decided
    from shared.eventlog.snapshot import Snapshot

AT_ONCE = 200  # decisions under way
LOADS_AT_ONCE = 32  # what isn't in Redis is asked of Postgres
TRIES = 5  # of one job, each from a newer state: so many edits within milliseconds are a quarrel
APPLY_S = 25.0  # for all of one apply
LOCK_S = 30.0  # above APPLY_S: while it is held nobody else is at work
TURN_S = 10.0  # to wait for another apply of the same owner
FAULTS_MAX = 20


@dataclass(slots=True, kw_only=True)
class _Wish:
    """One job of the file, or one to be deleted; and how it stands.

    Attributes:
        index: in the body; -1 for one to be deleted.
        spec: what it is to be; None: deleted.
        held: its snapshot.
        command: what makes it so; None if it is.
    """

    index: int
    name: str
    spec: JobSpec | None
    job_id: str = ""
    held: Snapshot = NOTHING
    command: JobCommand | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)
    decided: Decided | None = None

    @property
    def action(self) -> str:
        """As it is told."""
        match self.command:
            case CreateJob():
                return "create"
            case UpdateJob():
                return "update"
            case DeleteJob():
                return "delete"
            case _:
                return "unchanged" if self.spec is not None else "delete"


class Apply:
    """POST /apply."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._chains = Chains(deps.log)
        self._write = Writes(decider=deps.decider, archive=deps.archive, chains=self._chains)
        self._once = Idempotency(deps)
        self._specs, self._quota = JobSpecs(deps), Quota(deps)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        """Add the route."""
        app.add_url_rule(f"{answers.BASE}/apply", "apply_jobs", self.apply, methods=["POST"])

    async def apply(self) -> Response:
        """POST /apply."""
        body = door.body(ApplyBody, heeds=(door.KEY_HEADER,))
        key = key_of_request(body)
        return await self._once.many(None if body.dry_run else key, partial(self._applied, body))

    async def _applied(self, body: ApplyBody) -> tuple[Told, bool]:
        """What became of it, and whether the archive has all of that."""
        wishes = self._read(body)
        try:
            async with asyncio.timeout(APPLY_S) as limit, self._turn(present(), is_needed=not body.dry_run):
                wishes = await self._planned(wishes, present(), prune=body.prune)
                written = [] if body.dry_run else await self._carried_out(wishes)
        except TimeoutError:
            if not limit.expired():
                raise
            raise unavailable(
                f"It took more than {APPLY_S:.0f} s; what was done stands, and is not done again."
            ) from None
        reply = answers.Reply(text=_told(wishes, body), location=f"{answers.BASE}/jobs")
        told = Told(places(written), reply)
        return told, all(each.archived for each in written)

    def _read(self, body: ApplyBody) -> list[_Wish]:
        """The jobs of the file.

        Raises:
            Problem: 422, with what is wrong in all of them.
        """
        wishes: list[_Wish] = []
        faults: list[Fault] = []
        seen: dict[str, int] = {}
        for index, tree in enumerate(body.jobs):
            try:
                wanted = read(JobBody, tree)
                if (first := seen.setdefault(wanted.name, index)) != index:
                    raise invalid(
                        Fault(pointer="#/name", detail=f"is the name of {pointer('jobs', first)} too")
                    )
                wishes.append(_Wish(index=index, name=wanted.name, spec=self._specs.checked(wanted)))
            except Problem as problem:
                # Passed over, what isn't theirs to say would look as if it had been left out: prune deletes that.
                if not problem.errors:
                    raise
                faults += below(problem, pointer("jobs", index)).errors
        if faults:
            raise invalid(*faults[:FAULTS_MAX])
        return wishes

    # One after another.

    @contextlib.asynccontextmanager
    async def _turn(self, principal: Principal, *, is_needed: bool) -> AsyncIterator[None]:
        """While nobody else applies jobs of this principal, and the archive has what was applied before.

        Raises:
            Problem: 503; another apply goes on, or the archive lags.
        """
        log = self._deps.log
        digest = digest_of(principal.tenant, principal.id)
        keys = log.keys(int(digest[:8], 16) % log.partitions)
        if not is_needed:
            await self._level(keys.applied(digest))
            yield
            return
        lock = log.redis.lock(keys.applying(digest), timeout=LOCK_S, blocking_timeout=TURN_S)
        if not await lock.acquire():
            raise unavailable("Another apply of yours is under way.")
        try:
            await self._level(keys.applied(digest))
            yield
        finally:
            with contextlib.suppress(LockError):  # it has run out
                await lock.release()

    async def _level(self, name: str) -> None:
        """Wait until the archive has what was applied last: what is to be pruned is looked for there."""
        text: Any = await self._deps.log.redis.get(name)
        if text is None:
            return
        wait_s = max(door.wait_s(self._deps.settings.wait_seconds), 1.0)
        for partition, position in parse_places(text.decode(), partitions=self._deps.log.partitions).items():
            if await self._deps.archive.fate(partition, position, None, wait_s) is Fate.LATE:
                raise unavailable("The archive has not come to what was applied before yet.")

    async def _note(self, principal: Principal, written: Sequence[Written]) -> None:
        log = self._deps.log
        digest = digest_of(principal.tenant, principal.id)
        keys = log.keys(int(digest[:8], 16) % log.partitions)
        await log.redis.set(keys.applied(digest), places(written), px=ONCE_MS)

    # Planning.

    async def _planned(self, wishes: list[_Wish], principal: Principal, *, prune: bool) -> list[_Wish]:
        """All wishes, with those to be deleted, and what each takes.

        Raises:
            Problem: 422 if one can't be, 409 if there is no room.
        """
        rows = await self._deps.ledger.jobs_applied(principal.id, principal.tenant, BOUND)
        newest = {family_of(str(row["id"])): generation_of(str(row["id"])) for row in rows}
        found = await all_of(
            (self._compared(wish, principal, newest) for wish in wishes), at_once=LOADS_AT_ONCE
        )
        faults = [
            replace(fault, pointer=pointer("jobs", wish.index) + fault.pointer.removeprefix("#"))
            for wish, faults_of_one in zip(wishes, found, strict=True)
            for fault in faults_of_one
        ]
        if faults:
            raise invalid(*faults[:FAULTS_MAX])
        if prune:
            kept = {wish.job_id for wish in wishes}
            gone = [row for row in rows if row["status"] != "deleted" and str(row["id"]) not in kept]
            wishes = wishes + [_deletion(row["name"], str(row["id"]), principal) for row in gone]
        await self._keep_quota(wishes, principal)
        return wishes

    async def _compared(self, wish: _Wish, principal: Principal, newest: dict[str, int]) -> list[Fault]:
        """Find out how its job stands, and what is to be done; what is in the way, if something is."""
        wish.job_id, wish.held = await self._found(wish.name, principal, newest)
        assert wish.spec is not None  # noqa: S101 - deletions aren't compared
        job, spec = wish.held.state, wish.spec.pinned(wish.job_id)
        wish.command, wish.changes = None, []
        if isinstance(job, Job):
            try:
                spec = await self._specs.sealed_again(spec, job)
            except Problem as problem:
                if problem.slug != "illegal-transition":
                    raise
                return [Fault(pointer="#/job_data", detail=problem.detail)]
        if not isinstance(job, Job):
            wish.command = CreateJob(
                job_id=wish.job_id, spec=spec, owner=principal.id, tenant=principal.tenant
            )
        elif job.spec.job_type != spec.job_type:
            said = f"is fixed after creation, and the job is {job.spec.job_type}: give it another name"
            return [Fault(pointer="#/job_type", detail=said)]
        elif job.spec != spec:
            wish.changes = list(differences(views.body_of_spec(job.spec), views.body_of_spec(spec)))
            wish.command = UpdateJob(spec=spec, if_revision=(job.revision,))
        faults = await self._chains.faults(wish.job_id, spec, principal.tenant)
        return faults or await self._refused(wish)

    async def _refused(self, wish: _Wish) -> list[Fault]:
        """Why the domain would say no: asked beforehand, so that nothing is written if one job can't be."""
        if wish.command is None or wish.spec is None:
            return []
        try:
            await self._deps.decider.rehearse(f"job:{wish.job_id}", wish.command, wish.held)
        except UnknownCalendars as refused:
            return list(of_refusal(refused).errors)
        except Refused as refused:
            where = "run_at" if wish.spec.schedule.run_at is not None else "cron_expression"
            return [Fault(pointer=f"#/{where}", detail=refused.detail)]
        return []

    async def _found(self, name: str, principal: Principal, newest: dict[str, int]) -> tuple[str, Snapshot]:
        """The job of this name: that of the first generation that isn't deleted."""
        log, named = self._deps.log, Named(principal.tenant, principal.id, name)
        generation = newest.get(family_of(applied_id(named, 0, partitions=log.partitions)), 0)
        while True:
            job_id = applied_id(named, generation, partitions=log.partitions)
            held = (await log.load(f"job:{job_id}"))[f"job:{job_id}"]
            if not isinstance(held.state, Job) or held.state.status is not Status.DELETED:
                return job_id, held
            generation += 1

    async def _keep_quota(self, wishes: Iterable[_Wish], principal: Principal) -> None:
        actions = [wish.action for wish in wishes]
        made, left = actions.count("create"), await self._quota.left(principal)
        if made and left is not None and made - actions.count("delete") > left:
            raise self._quota.full(principal)

    # Doing.

    async def _carried_out(self, wishes: Sequence[_Wish]) -> list[Written]:
        """Do what is to be done, deletions first, as they make room, and wait for the archive once."""
        for some in (
            [wish for wish in wishes if wish.spec is None],
            [wish for wish in wishes if wish.spec is not None and wish.command is not None],
        ):
            await all_of((self._done(wish) for wish in some), at_once=AT_ONCE)
        wait_s = door.wait_s(self._deps.settings.wait_seconds)
        decided = [wish.decided for wish in wishes if wish.decided is not None]
        written = await all_of(self._write.awaited(each, wait_s) for each in decided)
        kept = [each for each in written if each is not None]
        if len(kept) < len(written):
            raise unavailable("The log was opened anew meanwhile, without some of it: apply it again.")
        if kept:
            await self._note(present(), kept)
        self._log.info("jobs applied", changed=len(kept), jobs=len(wishes))
        return kept

    async def _done(self, wish: _Wish) -> None:
        """Carry one out; what was made, changed or deleted meanwhile is compared anew."""
        context = door.context()
        for tries_left in reversed(range(TRIES)):
            if wish.command is None:
                return
            try:
                wish.decided = await self._write.decide(
                    f"job:{wish.job_id}",
                    await self._sealed(wish.command),
                    context,
                    held=None if wish.spec is None else wish.held,
                )
            except Problem as problem:
                if wish.spec is None and problem.slug == "not-found":
                    return
                if (
                    problem.slug not in {"precondition-failed", "illegal-transition", "not-found"}
                    or not tries_left
                ):
                    raise
                if faults := await self._compared(wish, present(), {}):
                    raise invalid(*faults) from None
                continue
            self._deps.metrics.count_occurrences(wish.decided.changes, self._deps.log.now())
            if isinstance(wish.command, CreateJob):
                self._deps.metrics.jobs_created_total.inc()
            return

    async def _sealed(self, command: JobCommand) -> JobCommand:
        """What is compared with nothing is sealed only now: a dry run makes no key for it."""
        if not isinstance(command, CreateJob):
            return command
        spec = await self._specs.sealed(command.spec, command.job_id, command.tenant)
        return structs.replace(command, spec=spec)


def _deletion(name: str, job_id: str, principal: Principal) -> _Wish:
    wish = _Wish(index=-1, name=name, spec=None, job_id=job_id)
    wish.command = DeleteJob(by=principal.id)
    return wish


def _told(wishes: Sequence[_Wish], body: ApplyBody) -> str:
    """The JSON of an ApplyView; where there is nothing on a side of a change, that is left out."""
    actions = [wish.action for wish in wishes]
    items = [
        {"name": wish.name, "id": wish.job_id, "action": wish.action, "changes": wish.changes}
        for wish in wishes
    ]
    counts = {
        "created": actions.count("create"),
        "updated": actions.count("update"),
        "unchanged": actions.count("unchanged"),
        "deleted": actions.count("delete"),
    }
    return json.dumps({"items": items} | counts | {"dry_run": body.dry_run})
