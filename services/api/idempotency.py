"""Idempotency-Key: a POST that is sent again gets the answer that the first one had, and nothing is done twice.

That it is done once is `once`, kept for a day by the very commit that does it (`shared.eventlog.once`); of two at once
the second meets it there. The text of the answer stands beside it in Redis, written before it is sent: who comes later
sends that, and who comes at the same moment too, as the first text stays. If it isn't there, as nobody got so far or
Redis was made anew from the archive, it is told again: what was made, as its event says; what was changed, as it is
now.

A key is its principal's, of one tenant, and its route's: the same key on another path is another one. What writes
nothing keeps nothing: a refusal, or a pause of what is paused already, is answered by what is then the case, each time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import zlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from msgspec.structs import replace
from quart import request

from services.api import answers, door, views
from services.api.answers import Reply
from services.api.archived import Fate
from services.api.principal import present
from services.api.problems import Fault, Problem, invalid, unavailable
from services.api.writes import REDIS_S
from shared import logs
from shared.domain import backfill, ids, job
from shared.domain.backfill import Backfill
from shared.domain.events import (
    BackfillCompleted,
    BackfillRequested,
    JobCreated,
    PersonalDataErased,
    RunRequested,
)
from shared.domain.job import Job
from shared.domain.run import Run
from shared.eventlog.once import Key, key_of
from shared.eventlog.opening import entry_at
from shared.eventlog.position import Position, parse_places
from shared.eventlog.unit import ONCE_MS
from shared.faults import is_broken
from shared.recovery import recorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart import Response

    from services.api.deps import Deps
    from services.api.requests import Body
    from services.api.writes import Written
    from shared.eventlog.envelope import Context, Recorded
    from shared.eventlog.unit import Answered, Once

REPLAYED_HEADER = "Idempotency-Replayed"
_FAULT_HERE = 500  # and above
NOTE_S = 0.5  # for the text of an answer to be kept; the write stands without it
_BARE = re.compile(r"[\x21\x23-\x7e][\x21-\x7e]{0,254}")
_QUOTED = re.compile(r'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')
_ESCAPED = re.compile(r"\\(.)")


class Told(NamedTuple):
    """An answer that was given: where what it tells is written, as `Daybook-Position` carries it, and the reply.

    One that isn't `lasting` is not kept: who sends the request again has what is left done.
    """

    place: str
    reply: Reply
    lasting: bool = True


def key_text(header: str) -> str:
    """The key that the header carries: bare, or as a string of RFC 8941, as the draft of the standard has it.

    Raises:
        Problem: 422.
    """
    text = header.strip(" \t")
    if quoted := _QUOTED.fullmatch(text):
        return _ESCAPED.sub(r"\1", quoted[1])
    if not _BARE.fullmatch(text):
        detail = "is 1 to 255 visible ASCII characters, bare or in double quotes"
        raise invalid(Fault(pointer=door.KEY_HEADER, detail=detail))
    return text


def key_of_request(asked: Body) -> Key | None:
    """The key of the present request, whose body is `asked`; None if it has none.

    Raises:
        Problem: 422.
    """
    given = door.sent(door.KEY_HEADER)
    if not given:
        return None
    if len(given) > 1:
        raise invalid(Fault(pointer=door.KEY_HEADER, detail="stands twice"))
    route = f"{request.method} {request.path.rstrip('/')}"
    body = json.dumps(asked.model_dump(mode="json", exclude_unset=True), sort_keys=True)
    if request.query_string:
        body += f"?{request.query_string.decode('latin1')}"
    principal = present()
    return key_of(principal.tenant, principal.id, route, key_text(given[0]), asked=body)


def partition_of(key: Key, *, partitions: int) -> int:
    """Where what is made under a key stands: a second request, of another process too, comes to the same `once`."""
    return int(key.digest[:8], 16) % partitions


class Idempotency:
    """Answers requests, with a key or without one."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._log = deps.log

    async def __call__(
        self,
        key: Key | None,
        partition: int,
        answer: str,
        write: Callable[[Context, tuple[Once, ...]], Awaitable[Written]],
        tell: Callable[[Written], Awaitable[Reply]],
    ) -> Response:
        """Do what is asked, unless it was done under this key before, and answer.

        Args:
            key: of the request.
            partition: where it writes.
            answer: what the last event that it writes is about (`job:<id>`, `run:<id>`).
            write: does it, on behalf of this context, keeping these answers.
            tell: the reply to what it did.

        Raises:
            Problem: 422 if the key was used for another request; and what `write` raises.
        """
        context = door.context()
        if key is None:
            done = await write(context, ())
            return answers.written(done, await tell(done))
        if (again := await self.again(key, partition)) is not None:
            return again
        try:
            done = await write(replace(context, cause=key.cause), (key.once(answer),))
        except Problem as problem:
            # What was done by the first of two may be what stands in the way of the second: the quota's last place.
            if problem.status >= _FAULT_HERE or (again := await self.again(key, partition)) is None:
                raise
            return again
        had = done.decided.answered
        if had is not None and had.digest == key.digest:
            if (again := await self._replay(key, partition, had)) is not None:
                return again
            raise unavailable("The log was opened anew meanwhile.")
        reply = await tell(done)
        if done.decided.last is not None:
            reply = (await self._kept(partition, key, str(done.position), Told(done.place, reply))).reply
        return answers.written(done, reply)

    async def many(self, key: Key | None, do: Callable[[], Awaitable[tuple[Told, bool]]]) -> Response:
        """As above, for what is no single commit, each part of which happens only once by itself.

        A request that comes before the first has its answer, or after that was lost with its process, goes through all
        of it again, and finds done what is done; both get the text that was kept first.

        Args:
            key: of the request.
            do: does it; the answer, and whether the archive has all of it.

        Raises:
            Problem: 422 if the key was used for another request; and what `do` raises.
        """
        if key is None:
            told, archived = await do()
            return told.reply.response(told.place, archived=archived)
        partition = partition_of(key, partitions=self._log.partitions)
        name = self._log.keys(partition).told(key.digest, "claim")
        async with asyncio.timeout(REDIS_S):
            claimed = await self._set_first(name, key.fingerprint.encode())
        if not key.is_for(claimed.decode()):
            raise _reused()
        if (had := await self._told(partition, key, "all")) is not None:
            if (fate := await self._fate(had.place)) is not Fate.LOST:
                return _replayed(had, archived=fate is Fate.ARCHIVED)
            await self._log.redis.delete(self._log.keys(partition).told(key.digest, "all"))
        told, archived = await do()
        if told.lasting:
            told = await self._kept(partition, key, "all", told)
        return told.reply.response(told.place, archived=archived)

    async def again(self, key: Key, partition: int) -> Response | None:
        """The answer that a request under this key has had; None if there was none.

        Raises:
            Problem: 422 if the key was used for another request.
        """
        async with asyncio.timeout(REDIS_S):
            had = await self._log.answered(partition, key.digest)
        return await self._replay(key, partition, had)

    async def _replay(self, key: Key, partition: int, had: Answered | None) -> Response | None:
        """The first answer again; None if there was none, or the log has lost what it tells of."""
        if had is None:
            return None
        if not key.is_for(had.fingerprint):
            raise _reused()
        place = f"{partition}:{had.position}"
        if (fate := await self._fate(place)) is Fate.LOST:
            return None
        told = await self._told(partition, key, str(had.position))
        if told is None:
            again = Told(place, await self.first_answer(partition, had))
            told = await self._kept(partition, key, str(had.position), again)
        return _replayed(told, archived=fate is Fate.ARCHIVED)

    async def _fate(self, places: str) -> Fate:
        """Wait for the archive as the first request did."""
        deps, until_s = (
            self._deps,
            self._deps.clock.monotonic() + door.wait_s(self._deps.settings.wait_seconds),
        )
        fates = set()
        for partition, position in (
            parse_places(places, partitions=self._log.partitions).items() if places else ()
        ):
            left_s = max(0.0, until_s - deps.clock.monotonic())
            fates.add(await deps.archive.fate(partition, position, None, left_s))
        return next((each for each in (Fate.LOST, Fate.LATE) if each in fates), Fate.ARCHIVED)

    # The text of an answer, in Redis.

    async def _kept(self, partition: int, key: Key, of: str, told: Told) -> Told:
        """Keep what is to be answered; what was kept before stays, and is what is to be answered."""
        name = self._log.keys(partition).told(key.digest, of)
        try:
            async with asyncio.timeout(NOTE_S):
                return _unpacked(await self._set_first(name, _packed(told)))
        except Exception as error:
            if not is_broken(error):
                raise
            logs.get("daybook.api").warning("the text of an answer was not kept", error=str(error))
            return told

    async def _set_first(self, name: str, value: bytes) -> bytes:
        """What stands under a name: `value`, if nothing has."""
        had = await self._log.redis.set(name, value, nx=True, get=True, px=ONCE_MS)
        return value if had is None else cast("bytes", had)

    async def _told(self, partition: int, key: Key, of: str) -> Told | None:
        async with asyncio.timeout(REDIS_S):
            text: Any = await self._log.redis.get(self._log.keys(partition).told(key.digest, of))
        return None if text is None else _unpacked(text)

    # The same, where it isn't there.

    async def first_answer(self, partition: int, had: Answered) -> Reply:
        """What was made, as it was told first; what was changed, as it is now.

        Raises:
            Problem: 404 if that is gone, 503 if a store doesn't answer.
        """
        event = await self._event(partition, had.position)
        change = event.change()
        if isinstance(change.event, JobCreated):
            made = job.evolve(None, change)
            etag = views.etag(made.revision, had.position)
            return answers.reply(
                views.job_of_state(made, views.Seen()),
                location=answers.job_path(made.id),
                done=201,
                etag=etag,
            )
        if isinstance(change.event, BackfillRequested):
            begun = backfill.evolve(None, change)
            where = answers.backfill_path(begun.id)
            return answers.reply(views.backfill_of_state(begun), location=where, done=201)
        if isinstance(change.event, RunRequested):
            view = views.execution_requested(change, at=ids.from_ms(event.at))
            return answers.reply(view, location=answers.execution_path(view.id), done=201)
        kind, _, identifier = had.answer.partition(":")
        if isinstance(change.event, PersonalDataErased):
            erased = views.erasure_of_event(identifier, change.event)
            return answers.reply(erased, location=f"{answers.job_path(identifier)}/events")
        if isinstance(change.event, BackfillCompleted):  # at once: it was found to have nothing to do
            return dataclasses.replace(await self._backfill_now(identifier), done=201)
        now = {"job": self._job_now, "run": self._run_now, "backfill": self._backfill_now}[kind]
        return await now(identifier)

    async def _event(self, partition: int, position: Position) -> Recorded:
        row = await self._deps.ledger.glance(self._deps.ledger.event(partition, position))
        if row is not None:
            return recorded(row)
        entry = await entry_at(self._log.redis, self._log.keys(partition), position)
        if entry is None:
            raise unavailable("It was done before, and the archive that tells of it doesn't answer.")
        return entry

    async def _job_now(self, job_id: str) -> Reply:
        row = await self._deps.ledger.glance(self._deps.ledger.job(job_id))
        held = (await self._log.load(f"job:{job_id}"))[f"job:{job_id}"]
        if not isinstance(held.state, Job) or held.state.status is job.Status.DELETED:
            raise door.no_such("job")
        view = views.job_of_state(held.state, views.seen(row))
        etag = views.etag(held.state.revision, Position.parse(held.version)) if held.version else None
        return answers.reply(view, location=answers.job_path(job_id), etag=etag)

    async def _run_now(self, run_id: str) -> Reply:
        row = await self._deps.ledger.glance(self._deps.ledger.run(run_id))
        state = (await self._log.load(f"run:{run_id}"))[f"run:{run_id}"].state
        if isinstance(state, Run):
            view = views.execution_of_run(state, row)
        elif row is not None:
            view = views.execution_of_row(row)
        else:
            raise unavailable("It was done before, and the archive that tells of it doesn't answer.")
        done = 200 if view.finished_at or view.status == "cancelled" else 202
        return answers.reply(view, location=answers.execution_path(run_id), done=done)

    async def _backfill_now(self, backfill_id: str) -> Reply:
        ref, where = f"backfill:{backfill_id}", answers.backfill_path(backfill_id)
        state = (await self._log.load(ref))[ref].state
        if isinstance(state, Backfill):
            return answers.reply(views.backfill_of_state(state), location=where)
        row = await self._deps.ledger.glance(self._deps.ledger.backfill(backfill_id))
        if row is None:
            raise unavailable("It was done before, and the archive that tells of it doesn't answer.")
        return answers.reply(views.backfill_of_row(row), location=where)


def _replayed(told: Told, *, archived: bool) -> Response:
    response = told.reply.response(told.place, archived=archived)
    response.headers[REPLAYED_HEADER] = "true"
    return response


def _reused() -> Problem:
    detail = "The key belongs to a request with another body, within the last 24 hours: take a new key for this one."
    return Problem("key-reused", detail)


def _packed(told: Told) -> bytes:
    return zlib.compress(json.dumps([told.place, asdict(told.reply)]).encode(), level=1)


def _unpacked(text: bytes) -> Told:
    place, reply = json.loads(zlib.decompress(text))
    return Told(place, Reply(**reply))
