"""The executor's loop: a fixed number of slots, filled from the work streams; and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from services.executor.admission import Admission
from services.executor.attempt import Attempt
from services.executor.bells import Bells
from services.executor.claims import Claims
from services.executor.heartbeat import Heartbeat
from services.executor.mail_pool import close_pools
from services.executor.notebook import capture
from services.executor.plugins import handlers
from services.executor.pool import Pool
from services.executor.tally import Tally
from services.executor.worker import Why, Worker
from shared import logs
from shared.eventlog.connection import connect
from shared.lifecycle import repeat

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.executor.claims import Claim
    from services.executor.heartbeat import Found
    from services.executor.resources import Resources
    from shared.eventlog.decider import Decider
    from shared.eventlog.log import EventLog
    from shared.job_types import Known
    from shared.lifecycle import Health, Stop
    from shared.metrics import Metrics
    from shared.personal.keys import PersonalKeys
    from shared.settings import Settings

TICK_S = 1.0
ADOPT_EVERY_S = 2.0
FLOCK_S = 0.002  # a busy executor's slots become free one by one, and are filled together, a third of them
# at a time: while one is being committed, the others are worked on
PACE_A_RUN_S = 0.001  # what trickles in is claimed by the handful: the next look waits for what the last took
PACE_MAX_S = 0.004
DEPTH_EVERY_S = 5.0
HAND_BACK_S = 3.0  # for handlers to heed the stop; below lifecycle.HAND_BACK_S, with time left to say goodbye
LAST_WRITES_S = 1.0


def worker_name() -> str:
    """`<host>-<pid>-<chance>`: nobody else has it, nor had."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Executor:
    """One process's slots.

    Args:
        log: opened.
        decider: over `log`.
        settings: concurrency, queues, lease_seconds, drain_seconds.
        redis_url: for connections of its own: bells, heartbeats.
        known: the job types that are installed.
        resources: what our handlers work with.
        personal: the keys of personal data.
        metrics: of the process.
        health: gets the probes `claim`, `heartbeat`.
        name: of the worker; None makes one.
        draw: a number in [0, 1), for the jitter of back-offs.
        attempt: makes the attempt of a claim.
        tally: is told of them.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        decider: Decider,
        settings: Settings,
        redis_url: str,
        known: Known,
        resources: Resources,
        personal: PersonalKeys,
        metrics: Metrics,
        health: Health,
        name: str | None = None,
        draw: Callable[[], float] = random.random,
        attempt: Callable[..., Attempt] = Attempt,
        tally: type[Tally] = Tally,
    ) -> None:
        self.name = name or worker_name()
        self._log = log
        self._settings = settings
        self._refused = known.refused
        self._metrics = metrics
        self._health = health
        self._blocking = connect(redis_url, blocking=True, connections=log.partitions)
        self._bells = Bells(self._blocking, log, queues=settings.queues)
        self._claims = Claims(log, queues=settings.queues, consumer=self.name)
        self._heartbeat = Heartbeat(
            redis_url,
            log,
            lease=timedelta(seconds=settings.lease_seconds),
            on_found=self._found_in_thread,
        )
        told = tally(metrics, job_types=known.types.keys())
        self._worker = Worker(
            name=self.name,
            log=log,
            decider=decider,
            claims=self._claims,
            admission=Admission(log, decider, self._claims, dict(settings.type_rates), told),
            heartbeat=self._heartbeat,
            handlers=handlers(known, resources, modules=settings.handlers),
            secrets=resources.secrets,
            personal=personal,
            pool=Pool(
                processes=min(settings.concurrency, max(2, os.cpu_count() or 1)),
                log_level=settings.log_level,
                log_format=settings.log_format,
                traced=settings.tracing != "off",
            ),
            tally=told,
            draw=draw,
        )
        self._attempt = attempt
        self._attempts: dict[tuple[int, str], Attempt] = {}  # by key of the claim, until they are recorded
        self._busy = 0  # slots: of attempts whose handler hasn't ended
        self._left_behind: set[asyncio.Task[None]] = set()
        self._all_ended = asyncio.Event()
        self._flock = -(-settings.concurrency // 2)
        self._filling = asyncio.Lock()  # two who count the free slots at once would give them away twice
        self._all_taken = False  # when last looked: what comes now rings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._words = logs.get("daybook.executor")

    @property
    def free(self) -> int:
        """How many more runs it could take: as many again as have a slot may be on their way into the log."""
        slots = self._settings.concurrency
        return min(slots - self._busy, 2 * slots - len(self._attempts))

    async def run(self, stop: Stop) -> None:
        """Serve until `stop` is set; then drain, hand back what hasn't ended, and leave."""
        self._open()
        for name, why in self._refused.items():
            self._words.error("plug-in refused", job_type=name, reason=why)
        self._words.info("serving", worker=self.name, queues=self._settings.queues, slots=self.free)
        try:
            async with asyncio.TaskGroup() as group:
                ticking = group.create_task(self._tick(), name="tick")
                helpers = [
                    group.create_task(self._bells.listen(stop), name="bells"),
                    group.create_task(self._repeat(self.adopt_once, stop, "adopt"), name="adopt"),
                    group.create_task(self._repeat(self.measure_once, stop, "depth"), name="depth"),
                    group.create_task(self._wake_at(stop), name="wake"),
                ]
                await self._repeat(self.claim_once, stop, "claim")
                await _cancelled(helpers)
                await self._drain()
                await _cancelled([ticking])
        finally:
            await self._close()

    async def claim_once(self) -> None:
        """Fill free slots, highest priority first; sleep if there are none, or nothing to do."""
        rung = self._bells.answer()
        if self.free == 0:
            if rung:
                await self._claims.take(0)
            await self._bells.sleep(listening=False)
            await asyncio.sleep(FLOCK_S)
            return
        began_at = time.monotonic()
        async with self._filling:
            room, claims = await self._taken(rung)
            for claim in claims:
                self.begin(claim)
        self._all_taken = len(claims) < room
        if self._all_taken:
            await self._bells.sleep(listening=True)
            pace_s = min(PACE_A_RUN_S * len(claims), PACE_MAX_S)
            await asyncio.sleep(max(0.0, began_at + pace_s - time.monotonic()))

    async def _taken(self, rung: set[int]) -> tuple[int, list[Claim]]:
        """New claims, and how many there would have been if enough had waited."""
        part = self.free // self._log.partitions
        if self._all_taken and rung and part:
            return part, await self._claims.take_from(rung, part)
        room = min(self.free, self._flock)
        return room, await self._claims.take(room)

    async def adopt_once(self) -> float:
        """Take over what others have left; returns the pause until the next look."""
        async with self._filling:
            for claim in await self._claims.adopt(self.free):
                self.begin(claim)
        return ADOPT_EVERY_S

    async def measure_once(self) -> float:
        """Count what waits; returns the pause until the next look."""
        for queue, depth in self._claims.depths(await self._claims.waiting()).items():
            self._metrics.queue_depth.labels(queue).set(depth)
        return DEPTH_EVERY_S

    def begin(self, claim: Claim) -> None:
        """Give a claim its slot. One that is being started already (adopted from ourselves) is left alone."""
        if claim.key not in self._attempts:
            attempt = self._attempt(self._worker, claim, vacate=self._vacated, end=self._ended)
            self._attempts[claim.key] = attempt
            self._busy += 1
            self._all_ended.clear()
            attempt.begin()

    def _vacated(self) -> None:
        self._wake_if_full()
        self._busy -= 1

    def _ended(self, attempt: Attempt) -> None:
        self._wake_if_full()
        del self._attempts[attempt.claim.key]
        if attempt.task is not None and attempt.task is not asyncio.current_task():
            self._left_behind.add(attempt.task)
            attempt.task.add_done_callback(self._left_behind.discard)
        if not self._attempts:
            self._all_ended.set()

    def _wake_if_full(self) -> None:
        if self.free == 0:
            self._bells.wake()

    # Lost leases, and cancels.

    def _found_in_thread(self, found: Found) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._heed, found)

    def _heed(self, found: Found) -> None:
        whys = dict.fromkeys(found.cancelled, Why.CANCELLED) | dict.fromkeys(found.moved, Why.MOVED)
        for attempt in self._attempts.values():
            if attempt.held is not None and (why := whys.get(attempt.held)) is not None:
                attempt.stop(why)

    # The frame.

    def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._health.check("heartbeat", lambda: self._heartbeat.trouble)
        self._metrics.collect_from("runs_active", lambda: len(self._heartbeat))
        self._metrics.slots.labels("busy").set_function(lambda: self._busy)
        self._metrics.slots.labels("free").set_function(lambda: self._settings.concurrency - self._busy)
        self._heartbeat.start()
        capture()

    async def _repeat(self, once: Callable[[], Any], stop: Stop, name: str) -> None:
        await repeat(once, stop=stop, name=name, health=self._health)

    async def _tick(self) -> None:
        """Show the heartbeat that the loop turns; without a heartbeat there is no point in going on."""
        while True:
            self._heartbeat.tick()
            if self._heartbeat.dead:
                raise RuntimeError("the heartbeat thread has died: leases would run out under their handlers")
            await asyncio.sleep(TICK_S)

    async def _wake_at(self, stop: Stop) -> None:
        await stop.wait()
        self._bells.wake()

    async def _drain(self) -> None:
        """Let what runs end, within the grace; hand the rest back."""
        for attempt in self._attempts.values():
            attempt.handing_back = True
        if await self._ended_within(self._settings.drain_seconds):
            return
        self._words.info("handing back", runs=len(self._attempts))
        for attempt in list(self._attempts.values()):
            attempt.stop(Why.STOPPING, patience_s=HAND_BACK_S)
        if not await self._ended_within(HAND_BACK_S + LAST_WRITES_S):
            self._words.error(
                "left without handing back", runs=[a.claim.run for a in self._attempts.values()]
            )

    async def _ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._attempts:
                    await self._all_ended.wait()
        return not self._attempts

    async def _close(self) -> None:
        """Let go of everything; entries that are still claimed may be adopted at once."""
        tasks = [attempt.task for attempt in self._attempts.values() if attempt.task is not None]
        await _cancelled([*tasks, *self._left_behind])
        await asyncio.to_thread(self._heartbeat.stop)
        try:
            async with asyncio.timeout(LAST_WRITES_S):
                await self._claims.leave()
        except Exception as error:  # noqa: BLE001 - others find out by themselves, a little later
            self._words.warning("left without a word", error=repr(error))
        await close_pools()
        await asyncio.to_thread(self._worker.pool.stop)
        self._worker.pool.close()
        self._bells.close()
        await self._blocking.aclose()


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end; those that ignore it are left to the end of the process."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=LAST_WRITES_S)
