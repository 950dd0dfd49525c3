"""Making a partition's write side anew from the archive: snapshots, due index, work streams, API keys.

It equals what was there, to the byte: the same `evolve` over the same events. Left out is what leaves Redis by
itself: ended runs, jobs that are over, which commands find in the archive, API keys that were revoked. A running
run gets a fresh lease. Where months of the archive were dropped, states begin as they were brought forward from them.

Everything is taken away first, work streams and due index before what they name, and put back the other way round:
whoever claims or wakes meanwhile finds all of a run or nothing of it. Leases of partitions stay: they tell who
serves, not what has happened.

Answers that are given once (`K:once:*`) are kept where the log only lost its tail: what they answer is archived. After
a fork they go, as they may answer for what was put aside. Those of retries and of Idempotency-Keys are made anew from
the archive's last 24 hours; whoever adds others adds them to `shared.eventlog.once`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.domain import ids, job, kinds, run
from shared.domain.backfill import Backfill
from shared.domain.events import TERMINAL, RunStarted
from shared.domain.job import Job
from shared.domain.relay import Relay
from shared.domain.run import Run, Status
from shared.eventlog import once, snapshot
from shared.eventlog.cluster import serving
from shared.eventlog.envelope import UnknownEvent
from shared.eventlog.position import START, Position
from shared.eventlog.script import Script
from shared.eventlog.snapshot import NewerShape
from shared.faults import Fatal
from shared.readmodel import cuts
from shared.readmodel.database import sql
from shared.recovery.brought_forward import brought_forward, brought_forward_of
from shared.recovery.comparing import Overtaken
from shared.recovery.rows import recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from datetime import timedelta

    import asyncpg
    from redis.asyncio import Redis

    from shared.domain.events import Change
    from shared.domain.kinds import Aggregate
    from shared.eventlog.keys import Keys
    from shared.eventlog.opening import LogState
    from shared.readmodel.archive import Connection
    from shared.recovery.brought_forward import Brought

    Command = tuple[str, ...]  # name, key without the base, arguments

COMMANDS_MAX = 500  # a call of the script, a few ms
BYTES_MAX = 1_000_000  # likewise
RUNS_A_QUERY = 500
SCANNED = 1_000  # keys a round trip
ASKING_S = 3600  # a large archive is asked for longer than any other statement may take
# What the rebuilding leaves alone, without the base. Permits are of runs in all partitions; those that are nobody's any
# more are found out. Copies of keys are no state: levelling sees to them.
_KEPT = ("meta", "lease:", "permits:", "holders:", "waiting:", "personal")
_ENDS = [event.__name__ for event in TERMINAL]


class Entry(NamedTuple):
    """A queued run's entry in a work stream; the position is its id."""

    position: Position
    queue: str
    priority: int
    run: str
    job: str


class Folded(NamedTuple):
    """Version, state and fence of an aggregate, as far as its events were read."""

    version: Position
    state: Any
    fence: Position | None = None


NOTHING = Folded(START, None)


@dataclass(slots=True)
class Rebuilt:
    """What was made anew.

    Attributes:
        jobs: how many.
        runs: how many.
        running: members of `due` that are running runs.
        waiting: the entries of all work streams.
    """

    jobs: int = 0
    runs: int = 0
    running: list[str] = field(default_factory=list)
    waiting: list[Entry] = field(default_factory=list)


class Rebuilding:
    """One rebuilding of one partition, under a token that nobody else has.

    Args:
        connection: to the archive, which stands still: the fence was raised.
        redis: a client for commands.
        keys: of the partition.
        state: of the log as it was compared.
        lease: how long a running run is left alone from now.
        token: no other rebuilding has had it.
        keep_answers: whether what answers Idempotency-Keys is true still.
    """

    def __init__(
        self,
        connection: Connection,
        redis: Redis,
        keys: Keys,
        state: LogState,
        *,
        lease: timedelta,
        token: str,
        keep_answers: bool,
    ) -> None:
        self._connection = connection
        self._redis = redis
        self._keys = keys
        self._state = state
        self._now = ids.from_ms(state.now_ms)
        self._lease = lease
        self._token = token
        self._kept = (*_KEPT, "once:") if keep_answers else _KEPT
        self._rebuilt = Rebuilt()
        self._brought: dict[str, Brought] = {}

    async def __call__(self) -> Rebuilt:
        """Withdraw the log, and make everything but the log anew.

        Raises:
            Overtaken: see there; nothing is open.
            Fatal: a newer Daybook wrote what must be read.
        """
        await self._withdraw()
        await self._take_away()
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            await self._connection.execute("set local statement_timeout = 0")
            await cuts.hold_still(self._connection)
            try:
                await self._bring_forward()
                for part in self._parts():
                    await self._put(part)
            except (UnknownEvent, NewerShape) as error:
                raise Fatal(f"{error}; so it can't rebuild the log: have a newer Daybook open it.") from error
        return self._rebuilt

    def _parts(self) -> Iterable[AsyncIterator[Command]]:
        """What is put back, in order: nothing may be found in a work stream before it is whole."""
        return self._jobs(), self._runs(), self._others(), self._answers(), self._work()

    # Away.

    async def _withdraw(self) -> None:
        tail = str(self._state.tail_at) if self._state.tail else ""
        script = _script("withdraw")
        args: list[str | bytes] = [tail, self._state.incarnation, self._token]
        if not await script(self._redis, [self._keys.meta, self._keys.log], args):
            raise Overtaken(f"partition {self._keys.partition}: the log has moved since it was compared")

    async def _take_away(self) -> None:
        names = [name async for name in self._names()]
        names.sort(key=lambda name: not (name == "due" or name.startswith("work:")))
        await self._put(_unlinked(names))

    async def _names(self) -> AsyncIterator[str]:
        """The partition's keys, without their base."""
        base = f"{self._keys.base}:"
        server = await serving(self._redis, base)
        async for key in server.scan_iter(match=f"{base}*", count=SCANNED):
            name = key.decode().removeprefix(base)
            if not name.startswith(self._kept):
                yield name

    # Back.

    async def _bring_forward(self) -> None:
        for kind in ("run", *(each.name for each in kinds.BESIDE)):
            self._brought |= await brought_forward(
                self._connection, self._keys.partition, kind, timeout_s=ASKING_S
            )

    async def _jobs(self) -> AsyncIterator[Command]:
        rows = self._connection.cursor(
            _statement("jobs_alive"), self._keys.partition, prefetch=SCANNED, timeout=ASKING_S
        )
        async for ref, epoch, pos, text in rows:
            if text is None:
                version, state = await self._folded_job(ref)
            else:
                version, state = Position(epoch, pos), snapshot.load(Job, text.encode())
            if state is None or state.over:
                continue
            self._rebuilt.jobs += 1
            yield _hash(ref, version, state)
            if state.due_at is not None:
                yield "ZADD", "due", str(ids.to_ms(state.due_at)), ref

    async def _folded_job(self, ref: str) -> tuple[Position, Job | None]:
        rows = await self._connection.fetch(
            _statement("events_about"), ref.removeprefix("job:"), timeout=ASKING_S
        )
        brought = await brought_forward_of(self._connection, [ref])
        return _fold(_begun(brought.get(ref)), ref, rows, job.evolve)[:2]

    async def _runs(self) -> AsyncIterator[Command]:
        candidates = await self._candidates()
        for first in range(0, len(candidates), RUNS_A_QUERY):
            some = candidates[first : first + RUNS_A_QUERY]
            events = await self._events_of(some)
            for ref in (f"run:{each}" for each in some):
                begun = _begun(self._brought.get(ref))
                version, state, fence = _fold(begun, ref, events.get(ref, ()), run.evolve)
                if state is not None and not state.ended:
                    for command in self._run(ref, version, state, fence):
                        yield command

    async def _candidates(self) -> list[str]:
        """Ids of the runs that may not have ended."""
        ask, partition = self._connection, self._keys.partition
        if await ask.fetchval(_statement("ledger_is_burnt"), partition, timeout=ASKING_S):
            rows = await ask.fetch(_statement("runs_without_an_end"), partition, _ENDS, timeout=ASKING_S)
        else:
            rows = await ask.fetch(_statement("runs_unfinished"), partition, timeout=ASKING_S)
        brought = {ref.removeprefix("run:") for ref in self._brought if ref.startswith("run:")}
        return sorted(brought.union(row[0] for row in rows))

    async def _events_of(self, runs: list[str]) -> dict[str, list[asyncpg.Record]]:
        rows = await self._connection.fetch(
            _statement("events_of_all"),
            self._keys.partition,
            [f"run/{each}" for each in runs],
            timeout=ASKING_S,
        )
        found: dict[str, list[asyncpg.Record]] = {}
        for row in rows:
            found.setdefault(row["subject"].replace("/", ":", 1), []).append(row)
        return found

    def _run(self, ref: str, version: Position, state: Run, fence: Position | None) -> Iterable[Command]:
        self._rebuilt.runs += 1
        yield _hash(ref, version, state, fence)
        due_at = run.due_at(state, now=self._now, lease=self._lease)
        if due_at is not None:
            yield "ZADD", "due", str(ids.to_ms(due_at)), ref
        if state.status is Status.RUNNING:
            self._rebuilt.running.append(ref)
        elif state.offered:
            follower = state.job_id if state.follows else ""
            entry = Entry(version, state.spec.queue, state.spec.priority, state.id, follower)
            self._rebuilt.waiting.append(entry)

    async def _others(self) -> AsyncIterator[Command]:
        """What is neither a job nor a run; of what is over for ever nothing is remembered on the way."""
        types = [event.__name__ for kind in kinds.BESIDE for event in kind.events]
        rows = self._connection.cursor(
            _statement("events_of_types"), self._keys.partition, types, prefetch=SCANNED, timeout=ASKING_S
        )
        found: dict[str, Folded] = {
            ref: _begun(each) for ref, each in self._brought.items() if kinds.of_ref(ref) in kinds.BESIDE
        }
        async for row in rows:
            ref = row["subject"].replace("/", ":", 1)
            found[ref] = _fold(found.pop(ref, NOTHING), ref, [row], kinds.of_ref(ref).evolve)
            if isinstance(found[ref].state, Relay | Backfill) and found[ref].state.over:
                del found[ref]
        for ref, (version, state, _) in found.items():
            if state is None or state.over:
                continue
            yield _hash(ref, version, state)
            if (due_at := kinds.of_ref(ref).due_at(state)) is not None:
                yield "ZADD", "due", str(ids.to_ms(due_at)), ref

    async def _answers(self) -> AsyncIterator[Command]:
        since = self._now - once.REMEMBERED
        rows = self._connection.cursor(
            _statement("answers_since"), self._keys.partition, since, prefetch=SCANNED, timeout=ASKING_S
        )
        async for row in rows:
            event = recorded(row)
            for answer in once.of_event(event, now=self._now):
                name = f"once:{answer.digest}"
                told = ("fingerprint", answer.fingerprint, "answer", answer.answer)
                yield ("HSET", name, *told, "position", str(event.position))
                yield "PEXPIRE", name, str(answer.ttl_ms)

    async def _work(self) -> AsyncIterator[Command]:
        for entry in sorted(self._rebuilt.waiting):
            stream = f"work:{entry.queue}:{entry.priority}"
            followed = ("job", entry.job) if entry.job else ()
            yield ("XADD", stream, str(entry.position), "run", entry.run, *followed)

    async def _put(self, commands: AsyncIterator[Command]) -> None:
        """Carry commands out, many at a time.

        Raises:
            Overtaken: see there.
        """
        chunk: list[bytes] = []
        size = 0
        async for command in commands:
            chunk.append(_pack(command))
            size += len(chunk[-1])
            if len(chunk) >= COMMANDS_MAX or size > BYTES_MAX:
                await self._call(chunk)
                chunk, size = [], 0
        if chunk:
            await self._call(chunk)

    async def _call(self, chunk: list[bytes]) -> None:
        args: list[str | bytes] = [self._token, f"{self._keys.base}:", *chunk]
        if not await _script("rebuild")(self._redis, [self._keys.meta], args):
            raise Overtaken(f"partition {self._keys.partition}: its rebuilding is somebody else's now")


async def _unlinked(names: Iterable[str]) -> AsyncIterator[Command]:
    for name in names:
        yield "UNLINK", name


def _fold(
    folded: Folded, ref: str, rows: Iterable[asyncpg.Record], evolve: Callable[[Any, Change], Any]
) -> Folded:
    """An aggregate after the events in `rows`, in order; others' are passed over.

    Raises:
        UnknownEvent: a newer Daybook wrote one of them.
    """
    version, state, fence = folded
    for row in rows:
        event = recorded(row)
        change = event.change()
        if ref not in change.advances:
            continue
        version, state = event.position, evolve(state, change)
        if isinstance(change.event, RunStarted) and ref == change.subject:
            fence = event.position
    return Folded(version, state, fence)


def _begun(brought: Brought | None) -> Folded:
    """What the fold of an aggregate begins with: more than nothing, if events before were dropped."""
    return NOTHING if brought is None else Folded(brought.version, brought.state, brought.fence)


def _hash(ref: str, version: Position, state: Aggregate, fence: Position | None = None) -> Command:
    """What sets an aggregate's key; commit.lua writes the same fields."""
    spec = snapshot.dump_spec(state)
    apart = ("state", snapshot.dump_apart(state), *(("spec", spec) if spec else ()))
    return ("HSET", ref, "version", str(version), *apart, *(("fence", str(fence)) if fence else ()))


_pack: Callable[[Command], bytes] = msgspec.msgpack.Encoder().encode


def _script(name: str) -> Script:
    return Script(resources.files("shared.recovery").joinpath(f"{name}.lua").read_text(encoding="utf-8"))


def _statement(name: str) -> str:
    return sql("shared.recovery", f"statements/{name}.sql")
