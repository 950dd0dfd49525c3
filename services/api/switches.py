"""A stop switch: all jobs with a tag, or all there are, are paused, and let go on together.

The switch is its own scope, `tag:<tag>` or `all`: thrown again it goes on with what it had not come to, and thrown back
it lets go on what it has paused itself, whatever tags that has by then, and nothing that somebody has paused singly.

Which jobs these are is the read model's to say, whether anything is to be done the write model's. Every job is decided
by itself: a crash in the middle leaves some paused and the others not, and the same request again does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from services.api import answers, door, reads
from services.api.idempotency import Idempotency, Told, key_of_request
from services.api.list_query import TAG_MAX
from services.api.pauses import pause_of, resume_of
from services.api.problems import Fault, Problem, invalid, unavailable
from services.api.requests import PauseManyBody, ResumeManyBody
from services.api.responses import SwitchView
from services.api.together import all_of, places
from services.api.writes import Writes
from shared import logs
from shared.domain.cron import BadCron
from shared.domain.job import Status
from shared.domain.zones import UnknownZone

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    from quart import Quart, Response

    from services.api.deps import Deps
    from services.api.writes import Written
    from shared.domain.commands import PauseJob, ResumeJob
    from shared.eventlog.decider import Decided
    from shared.eventlog.envelope import Context

LOOKED_MAX = 50_000  # ids in memory; what is beyond them is the next request's
BEGIN_S = 15.0  # after that no more jobs are taken in hand
CHUNK = 1_000  # less than a second's: in between it is looked whether time is up
AT_ONCE = 200  # jobs at work: a full commit of each partition, and their snapshots in memory
SERVER_FAULT = 500
ASKS = ("tag", "all", "cursor", door.POSITION_PARAMETER)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """Which jobs are meant: with `tag`, or all; those with ids after `after`."""

    tag: str | None
    after: str | None

    @property
    def switch(self) -> str:
        return "all" if self.tag is None else f"tag:{self.tag}"


@dataclass(slots=True)
class _Done:
    """What has come of it so far: `last` are the decisions with the last event in each partition."""

    changed: int = 0
    unchanged: int = 0
    cursor: str | None = None
    last: dict[int, Decided] = field(default_factory=dict)

    def take(self, decided: Decided | None) -> None:
        if decided is None or decided.last is None:
            self.unchanged += 1
            return
        self.changed += 1
        had = self.last.get(decided.partition)
        if had is None or had.last is None or had.last < decided.last:
            self.last[decided.partition] = decided


class Switches:
    """POST /jobs:pause and POST /jobs:resume."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._write = Writes(decider=deps.decider, archive=deps.archive)
        self._once = Idempotency(deps)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        app.add_url_rule(f"{answers.BASE}/jobs:pause", "pause_jobs", self.pause, methods=["POST"])
        app.add_url_rule(f"{answers.BASE}/jobs:resume", "resume_jobs", self.resume, methods=["POST"])

    async def pause(self) -> Response:
        """POST /jobs:pause."""
        body = door.body(PauseManyBody, optional=True, heeds=(door.KEY_HEADER,), asks=ASKS)
        scope = await self._scope()

        async def do() -> tuple[Told, bool]:
            command = pause_of(body, now=self._deps.log.now(), switch=scope.switch)
            rows = await self._deps.ledger.jobs_to_pause(scope.tag, after=scope.after, limit=LOOKED_MAX + 1)
            would = Status.PENDING if body.dry_run else None
            return await self._thrown(scope, command, rows, would)

        return await self._once.many(None if body.dry_run else key_of_request(body), do)

    async def resume(self) -> Response:
        """POST /jobs:resume."""
        body = door.body(ResumeManyBody, optional=True, heeds=(door.KEY_HEADER,), asks=ASKS)
        scope = await self._scope()

        async def do() -> tuple[Told, bool]:
            command = resume_of(body, switch=scope.switch)
            rows = await self._deps.ledger.jobs_paused_by(
                scope.switch, after=scope.after, limit=LOOKED_MAX + 1
            )
            would = Status.PAUSED if body.dry_run else None
            return await self._thrown(scope, command, rows, would)

        return await self._once.many(None if body.dry_run else key_of_request(body), do)

    async def _scope(self) -> _Scope:
        """What the query parameters say, once the archive has what they ask for.

        Raises:
            Problem: 422; nothing is meant by accident. And see `reads.query`.
        """
        given = await reads.query(self._deps, "tag", "all", "cursor")
        after = door.id_in(given, "cursor", partitions=self._deps.log.partitions)
        everything = door.one_of(given, "all", ("true",)) is not None
        tag = given.get("tag")
        if everything is (tag is not None):
            detail = "say one of them: ?tag=… for the jobs with a tag, ?all=true for all there are"
            raise invalid(Fault(pointer="?tag", detail=detail))
        if tag is not None and (not 1 <= len(tag) <= TAG_MAX or "\0" in tag):
            raise invalid(Fault(pointer="?tag", detail=f"is 1 to {TAG_MAX} characters"))
        return _Scope(tag=tag, after=after)

    async def _thrown(
        self,
        scope: _Scope,
        command: PauseJob | ResumeJob,
        rows: Sequence[asyncpg.Record],
        would: Status | None,
    ) -> tuple[Told, bool]:
        """What came of it, and whether the archive has all of that; `would`: only which state would be changed."""
        if would is None:
            done = await self._carried_out(command, rows)
        else:
            changed = sum(1 for row in rows[:LOOKED_MAX] if row["state"] == would)
            done = _Done(changed=changed, unchanged=min(len(rows), LOOKED_MAX) - changed)
            done.cursor = str(rows[LOOKED_MAX - 1]["id"]) if len(rows) > LOOKED_MAX else None
        written = await self._archived(done)
        view = SwitchView(
            switch=scope.switch,
            changed=done.changed,
            unchanged=done.unchanged,
            next_cursor=done.cursor,
            dry_run=would is not None,
        )
        reply = answers.reply(view, location=f"{answers.BASE}/jobs")
        return Told(places(written), reply), all(each.archived for each in written)

    async def _carried_out(self, command: PauseJob | ResumeJob, rows: Sequence[asyncpg.Record]) -> _Done:
        """The command on these jobs, by id, until time is up.

        Raises:
            Problem: 503; what was done by then stands, and the same request again does the rest.
        """
        one, done = partial(self._one, command, door.context()), _Done()
        until_s = self._deps.clock.monotonic() + BEGIN_S
        left, come_to = rows[:LOOKED_MAX], None
        while left:
            chunk, left = [str(row["id"]) for row in left[:CHUNK]], left[CHUNK:]
            for decided in await all_of(map(one, chunk), at_once=AT_ONCE):
                done.take(decided)
            come_to = chunk[-1]
            if self._deps.clock.monotonic() >= until_s:
                break
        done.cursor = come_to if left or len(rows) > LOOKED_MAX else None
        self._log.info("switch thrown", switch=command.switch, changed=done.changed, unchanged=done.unchanged)
        return done

    async def _one(self, command: PauseJob | ResumeJob, context: Context, job_id: str) -> Decided | None:
        """The command on one job; None if that is gone or completed by now, or its schedule can't be kept any more."""
        try:
            decided = await self._write.decide(f"job:{job_id}", command, context)
        except Problem as problem:
            if problem.status >= SERVER_FAULT:
                raise
            return None
        except (BadCron, UnknownZone) as error:  # it runs nothing; the timer suspends it
            self._log.warning("a job was passed over", job_id=job_id, error=str(error))
            return None
        self._deps.metrics.count_occurrences(decided.changes, self._deps.log.now())
        return decided

    async def _archived(self, done: _Done) -> list[Written]:
        """Wait for the archive, in each partition once."""
        wait_s = door.wait_s(self._deps.settings.wait_seconds)
        fates = await all_of(self._write.awaited(decided, wait_s) for decided in done.last.values())
        if None in fates:
            raise unavailable(
                "The log was opened anew meanwhile, without some of it: send the request again."
            )
        return [each for each in fates if each is not None]
