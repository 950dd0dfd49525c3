"""The timer's loop: sleep until the head of the due index, take what is due, decide it, commit it.

What is due in several partitions at one moment is taken, and committed, in one round trip each. Where there is more
than a round takes, the partitions fall out of step by themselves: while one's batch is being written, the next one's
is decided.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from services.timer.due import DueIndex
from services.timer.relays import Relays
from services.timer.replanning import Replanning
from shared import logs
from shared.domain import ids
from shared.domain.commands import SuspendJob, Wake
from shared.domain.events import JobPaused, JobResumed, RunLost
from shared.domain.refusals import Refused
from shared.domain.relay import Relay
from shared.domain.zones import tables_version
from shared.eventlog import story
from shared.eventlog.cluster_wire import wire_to
from shared.eventlog.decider import Unseen
from shared.eventlog.envelope import Context
from shared.eventlog.snapshot import NewerShape
from shared.eventlog.writer import LogFull
from shared.faults import is_broken
from shared.loop import repeat

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from services.timer.due import Due, Sight
    from shared.clock import Clock
    from shared.eventlog.decider import Decided, Decider
    from shared.eventlog.log import EventLog
    from shared.lease import Share
    from shared.loop import Stop
    from shared.metrics import Metrics
    from shared.ops import Health

IDLE_MAX_S = 1.0  # a lost ring of the bell costs at most this
PACE_S = 0.005  # small rounds cost the most; this much they may add to a delay
MANY = 50  # wakes of a partition, a few ms to decide: they are sent on their way before the next one's
RENEW_EVERY_S = 1 / 3  # a third of a lease: two renewals may fail before it is lost
SKEW_MAX = timedelta(seconds=2)
POSTPONE_MS = 60_000
TROUBLES_MAX = 5  # a job that can't be decided so often is paused
_ACTOR = Context(actor="timer")
_WAKE = Wake()


class Timer:
    """Wakes what is due in its share of the partitions.

    Args:
        log: where snapshots and times come from.
        decider: where decisions go.
        bells: a client for BLPOP.
        share: which partitions are this replica's.
        clock: the local one; it is compared with Redis's.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        decider: Decider,
        bells: Redis,
        share: Share,
        clock: Clock,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._log = log
        self._index = DueIndex(log)
        self._decider = decider
        self._relays = Relays(log, decider, count=self._count)
        self._bells = [wire_to(bells, blocking=True) for _ in range(log.partitions)]
        self._share = share
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._rung = asyncio.Event()
        self._deciding: dict[int, asyncio.Task[None]] = {}  # partitions that are not looked at meanwhile
        self._overdue: dict[int, int] = {}
        self._troubles: Counter[str] = Counter()
        self._skew = timedelta()
        self._replanning = Replanning(
            log, decider, share, clock=clock, metrics=metrics, tables=tables_version()
        )
        self._words = logs.get("daybook.timer")
        health.check("clock", self._clock_trouble)

    async def run(self, stop: Stop) -> None:
        """Serve until `stop` is set; then give the partitions back."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(repeat(self._renew, stop=stop, name="timer leases"), name="timer leases")
            for partition in range(self._log.partitions):
                tasks.create_task(self._listen(partition, stop), name=f"timer bell {partition}")
            tasks.create_task(
                repeat(self.run_once, stop=stop, name="timer", health=self._health), name="timer wakes"
            )
            tasks.create_task(
                repeat(partial(self._replanning.run_once, stop), stop=stop, name="timer zones"),
                name="timer zones",
            )
            await stop.wait()
            self._rung.set()
        await asyncio.gather(*self._deciding.values(), return_exceptions=True)
        for wire in self._bells:
            wire.close()
        with contextlib.suppress(Exception):  # they run out by themselves
            await self._share.release_all()

    async def run_once(self) -> float | None:
        """Take and decide what is due now; where nothing is, sleep until something will be, or the bell rings.

        It returns when one partition's has been decided; those that are still being decided rest in the next round.

        Returns the seconds to pause, so that rounds with work begin PACE_S apart: what falls due one by one is then
        decided together. What falls due after a quiet spell is not kept waiting.

        Raises:
            Exception: broken infrastructure, in this round or the rest of an earlier one.
        """
        self._rung.clear()
        began = self._clock.monotonic()
        owned = self._share.owned
        sight = await self._index.look(sorted(owned - self._deciding.keys()))
        self._tell_time(owned, sight)
        if sight.due and not self._clock_trouble():
            for partition, entries in sight.due.items():
                self._deciding[partition] = self._begin(partition, entries)
                if len(entries) >= MANY:
                    await asyncio.sleep(0)
            await asyncio.wait(self._deciding.values(), return_when=asyncio.FIRST_COMPLETED)
            self._rest()
            return max(0.0, PACE_S - (self._clock.monotonic() - began))
        await self._sleep_until(sight.head_ms)
        self._rest()
        return None

    def _tell_time(self, owned: frozenset[int], sight: Sight) -> None:
        now = self._log.now()
        self._skew = self._clock.now() - now
        self._overdue |= sight.overdue
        self._metrics.jobs_overdue.set(sum(self._overdue[p] for p in owned if p in self._overdue))
        self._metrics.timer_last_tick_timestamp_seconds.set(now.timestamp())

    def _begin(self, partition: int, entries: list[Due]) -> asyncio.Task[None]:
        """Decide entries in a task that ends with all of them, and with the first error."""

        async def decide() -> None:
            findings = await asyncio.gather(*map(self._wake, entries), return_exceptions=True)
            for finding in findings:
                if finding is not None:
                    raise finding

        task = asyncio.create_task(decide(), name=f"timer wakes {partition}")
        task.add_done_callback(lambda _: self._rung.set())
        return task

    def _rest(self) -> None:
        """Let the partitions that have been decided be looked at again.

        Raises:
            Exception: the first one's error; the others' are the same weather.
        """
        ended = [partition for partition, task in self._deciding.items() if task.done()]
        errors = [error for partition in ended if (error := self._deciding.pop(partition).exception())]
        if errors:
            raise errors[0]

    async def _sleep_until(self, head_ms: int | None) -> None:
        idle_s = IDLE_MAX_S
        if head_ms is not None:
            away_ms = head_ms - ids.to_ms(self._log.now())
            idle_s = min(max(away_ms / 1000, 0.0005), IDLE_MAX_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(idle_s):
                await self._rung.wait()

    async def _wake(self, entry: Due) -> None:
        try:
            decided = await self._decided(entry)
        except LogFull as error:
            self._words.warning("wake refused", ref=entry.ref, reason=str(error))
            await self._index.postpone(entry, by_ms=1_000)
        except Unseen as error:  # the rest is not to wait for what stands on another server
            self._words.warning("wake waits", ref=entry.ref, reason=str(error))
            await self._index.postpone(entry, by_ms=1_000)
        except (NewerShape, Refused) as error:  # a newer replica's to decide; or gone from Redis
            self._words.warning("wake left alone", ref=entry.ref, reason=str(error))
            await self._index.postpone(entry, by_ms=POSTPONE_MS)
        except Exception as error:
            if is_broken(error):
                raise
            await self._set_aside(entry, error)
        else:
            self._troubles.pop(entry.ref, None)
            self._count(decided)
            self._tell(decided)
            if decided.last is None:
                # Nothing to do under this time; if it has moved, it stands.
                await self._index.postpone(entry, by_ms=POSTPONE_MS)

    async def _decided(self, entry: Due) -> Decided:
        held = entry.snapshot()
        if held is not None and isinstance(held.state, Relay) and not held.state.told:
            return await self._relays.tell(held.state, entry.score)
        return await self._decider.decide(entry.ref, _WAKE, _ACTOR, held=held, woken=entry.score)

    def _count(self, decided: Decided) -> None:
        self._metrics.count_occurrences(decided.changes, self._log.now())
        self._metrics.count_ends(decided.ended)

    async def _set_aside(self, entry: Due, error: Exception) -> None:
        """One aggregate that can't be decided must not stop the rest: it comes again in a minute, alone."""
        self._troubles[entry.ref] += 1
        times = self._troubles[entry.ref]
        self._words.exception("wake failed", ref=entry.ref, times=times)
        if times >= TROUBLES_MAX and entry.ref.startswith("job:"):
            reason = f"its schedule could not be decided {times} times: {type(error).__name__}: {error}"
            await self._decider.decide(entry.ref, SuspendJob(by="timer", reason=reason[:500]), _ACTOR)
            del self._troubles[entry.ref]
        else:
            await self._index.postpone(entry, by_ms=POSTPONE_MS)

    def _tell(self, decided: Decided) -> None:
        story.tell(self._words, decided.changes, actor=_ACTOR.actor)
        for change in decided.changes:
            match change.event:
                case RunLost():
                    self._metrics.leases_lost_total.inc()
                case JobResumed(catch_up=catch_up):
                    self._words.info("job resumed", ref=change.subject, catch_up=catch_up)
                case JobPaused(by=by, reason=reason):
                    self._words.warning("job paused", ref=change.subject, by=by, reason=reason)

    def _clock_trouble(self) -> str | None:
        if abs(self._skew) <= SKEW_MAX:
            return None
        return f"this machine's clock is {self._skew.total_seconds():+.1f} s off Redis's: nothing is decided here"

    async def _renew(self) -> float:
        """Keep the share; a replica with a wrong clock leaves its partitions to others."""
        if self._clock_trouble():
            await self._share.release_all()
            self._words.error("clock is off", skew_s=self._skew.total_seconds())
            return 1.0
        before = self._share.owned
        owned = await self._share.renew()
        self._metrics.partitions_owned.labels("timer").set(len(owned))
        if owned != before:
            self._words.info("partitions owned", partitions=sorted(owned))
            self._rung.set()
        return RENEW_EVERY_S

    async def _listen(self, partition: int, stop: Stop) -> None:
        """Have the partition's bell interrupt the sleep; only its owner takes the ring away."""
        bell = self._log.keys(partition).timer_bell

        async def once() -> float | None:
            if partition not in self._share.owned:
                return RENEW_EVERY_S
            (rung,) = await self._bells[partition].replies(("BLPOP", bell, str(IDLE_MAX_S)))
            if rung is not None:
                self._rung.set()
            return None

        await repeat(once, stop=stop, name=f"timer bell {partition}")
