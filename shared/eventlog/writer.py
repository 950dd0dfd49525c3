"""Group commit: units submitted while a script is in flight go into the next call (DESIGN §5.2).

One batch is in flight for each (process, partition) and carries a number. A batch whose reply was lost is sent
again with the same number and applies at most once, whoever wrote in between: commit.lua keeps the last reply.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.eventlog import snapshot
from shared.eventlog.position import Position
from shared.eventlog.unit import Answered, Committed, Conflict, Early, Layout, Outcome, Unit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from shared.eventlog.keys import Keys
    from shared.metrics import Metrics

UNITS_MAX = 200  # about 3 ms of script; BYTES_MAX likewise (DESIGN §5.2: 5 ms)
BYTES_MAX = 1_000_000
WRITER_TTL_MS = 24 * 3600 * 1000
RESEND_AFTER_S = (0.05, 0.1, 0.2, 0.4, 0.8)  # then every 0.8 s
BROKEN = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError)


class LogFull(Exception):  # noqa: N818 - said to clients as a 503
    """Redis is out of memory: no new work is taken until runs have ended."""


class Script:
    """A Lua script called by its hash, loaded where it is missing. Loading is harmless: the fence is in `meta`."""

    def __init__(self, body: str) -> None:
        self.body = body
        self.sha = hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, keys: list[str], args: list[str]) -> Any:
        """EVALSHA; SCRIPT LOAD and once more where the server doesn't know it."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            await redis.script_load(self.body)
            return await redis.evalsha(self.sha, len(keys), *keys, *args)


def _flavours() -> dict[bool, Script]:
    """By `adds_work`: one body, refused under memory pressure or allowed."""
    body = resources.files("shared.eventlog").joinpath("commit.lua").read_text()
    return {True: Script("#!lua\n" + body), False: Script("#!lua flags=allow-oom\n" + body)}


class Writer:
    """One process's hand on one partition's log."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        process: str,
        *,
        reopen: Callable[[int], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._process = process
        self._reopen = reopen
        self._metrics = metrics
        self._committed = cache(
            metrics.events_committed_total.labels
        )  # finding a series costs more than counting
        self._scripts = _flavours()
        self._waiting: dict[bool, deque[tuple[Unit, asyncio.Future[Outcome]]]] = {
            True: deque(),
            False: deque(),
        }
        self._seq = 0
        self._task: asyncio.Task[None] | None = None

    async def submit(self, unit: Unit) -> Outcome:
        """Commit `unit` with whatever else is waiting; returns when its script has.

        The unit is written even if the caller is cancelled meanwhile.

        Raises:
            LogFull: it adds work and Redis is out of memory.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[unit.adds_work].append((unit, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name=f"writer {self._keys.partition}")
        return await future

    async def close(self) -> None:
        """Wait for the batches under way, up to a second, then let go."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=1)
            self._task.cancel()

    async def _drain(self) -> None:
        while self._waiting[True] or self._waiting[False]:
            for adds_work in (False, True):  # what ends work goes first
                if batch := self._next_batch(self._waiting[adds_work]):
                    await self._send(batch, self._scripts[adds_work])

    def _next_batch(
        self, waiting: deque[tuple[Unit, asyncio.Future[Outcome]]]
    ) -> list[tuple[Unit, asyncio.Future[Outcome]]]:
        batch: list[tuple[Unit, asyncio.Future[Outcome]]] = []
        size = 0
        while waiting and len(batch) < UNITS_MAX:
            size += waiting[0][0].size
            if batch and size > BYTES_MAX:
                break
            batch.append(waiting.popleft())
        return batch

    async def _send(self, batch: list[tuple[Unit, asyncio.Future[Outcome]]], script: Script) -> None:
        layout = Layout(self._keys, self._process)
        for unit, _ in batch:
            layout.add(unit)
        self._seq += 1
        head = [str(self._seq), str(WRITER_TTL_MS), str(len(batch))]
        try:
            with self._metrics.commit_duration_seconds.time():
                reply = await self._until_applied(script, layout.keys, head + layout.args)
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(
                        error if isinstance(error, Exception) else ConnectionError("closing")
                    )
            if not isinstance(error, Exception):
                raise
            return
        self._metrics.commit_batch_size.observe(len(batch))
        self._settle(batch, layout, reply)

    async def _until_applied(self, script: Script, keys: list[str], args: list[str]) -> list[Any]:
        """Send the batch until a reply says what became of it; its number makes repeating safe."""
        tries = 0
        while True:
            try:
                reply = await script(self._redis, keys, args)
            except OutOfMemoryError as error:
                raise LogFull("Redis is out of memory; new work is refused until runs have ended") from error
            except BROKEN:
                await asyncio.sleep(RESEND_AFTER_S[min(tries, len(RESEND_AFTER_S) - 1)])
                tries += 1
                continue
            except ResponseError as error:
                if not str(error).startswith(("LOADING", "BUSY", "MISCONF", "MASTERDOWN", "TRYAGAIN")):
                    raise
                await asyncio.sleep(RESEND_AFTER_S[-1])
                continue
            match reply[0]:
                case b"OK":
                    return reply  # type: ignore[no-any-return]
                case b"CLOSED":
                    await self._reopen(self._keys.partition)
                case _:
                    raise RuntimeError(f"writer {self._process}: batch {args[0]} answered {reply!r}")

    def _settle(
        self, batch: list[tuple[Unit, asyncio.Future[Outcome]]], layout: Layout, reply: list[Any]
    ) -> None:
        now_ms = int(reply[1])
        for (unit, future), row in zip(batch, reply[2:], strict=True):
            try:
                outcome = _outcome(row, layout, now_ms)
            except (
                ValueError
            ) as error:  # a conflicting snapshot of a newer shape: this caller's trouble alone
                if not future.done():
                    future.set_exception(error)
                continue
            self._count(unit, outcome)
            if not future.done():
                future.set_result(outcome)

    def _count(self, unit: Unit, outcome: Outcome) -> None:
        if isinstance(outcome, Committed):
            for event in unit.events:
                self._committed(event.type).inc()
        elif isinstance(outcome, Conflict):
            self._metrics.commit_conflicts_total.inc()


def _outcome(row: list[bytes], layout: Layout, now_ms: int) -> Outcome:
    match [item.decode() for item in row]:
        case ["committed", first, last]:
            return Committed(first=Position.parse(first), last=Position.parse(last), now_ms=now_ms)
        case ["conflict", index, version, state, fence]:
            ref = layout.refs[index]
            return Conflict(ref=ref, snapshot=read_snapshot(ref, version, state, fence), now_ms=now_ms)
        case ["early", ref]:
            return Early(ref=ref)
        case ["once", fingerprint, answer, position]:
            return Answered(fingerprint=fingerprint, answer=answer, position=Position.parse(position))
        case other:
            raise RuntimeError(f"commit.lua answered {other!r}")


def read_snapshot(ref: str, version: str, state: str, fence: str) -> snapshot.Snapshot:
    """The snapshot of a hash's three fields ('' = not there)."""
    if not version:
        return snapshot.NOTHING
    return snapshot.Snapshot(state=snapshot.load_ref(ref, state), version=version, fence=fence)
