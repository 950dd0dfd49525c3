"""Signs of life for running runs, from a thread of its own: a handler that blocks the loop loses no lease.

Every second the thread asks which runs are no longer this worker's or are to be cancelled, and shows how far the others
are; each third of a lease it extends theirs, and shows the permits of those that share a limit. When the event loop
hasn't turned for LOOP_STUCK_S it stops: then nobody here is working, and the runs had better start elsewhere.
"""

from __future__ import annotations

import threading
import time
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import RedisError

from services.executor.beaten import TIMEOUT_S, Beaten
from shared import logs
from shared.domain import ids
from shared.eventlog import permits

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from redis import Redis
    from redis.commands.core import Script

    from shared.eventlog.log import EventLog

LOOK_EVERY_S = 1.0
LOOP_STUCK_S = 60.0
RUNS_MAX = 500  # a call, about 1 ms of script

Held = tuple[str, str]  # run id, fence


class Permit(NamedTuple):
    """The permit of a start: the pool it is of, and the entry of a work stream that the run came by."""

    pool: str
    entry: str


class Found(NamedTuple):
    """What a beat has seen: starts that are no longer ours, and those that somebody wants ended."""

    moved: list[Held]
    cancelled: list[Held]


class Heartbeat:
    """Keeps the leases of what `hold` names, until `release`.

    Args:
        url: of Redis; the thread has its own connection.
        log: for the names of keys only.
        lease: how long a run stays its worker's without a beat.
        on_found: called *in the thread* after a round that has found something; it may be told again.
    """

    def __init__(
        self,
        url: str,
        log: EventLog,
        *,
        lease: timedelta,
        on_found: Callable[[Found], None],
    ) -> None:
        self._beaten = Beaten(url)
        self._scripts: dict[tuple[Redis, str], Script] = {}
        self._log = log
        self._lease_ms = round(lease.total_seconds() * 1000)
        self._times = permits.times_of(lease)
        self._extend_every_s = lease.total_seconds() / 3  # two beats may fail before a lease is lost
        self._on_found = on_found
        self._held: dict[Held, int] = {}
        self._permits: dict[Held, Permit] = {}
        self._told: dict[Held, str] = {}  # progress that is still to be shown
        self._ticked_at = time.monotonic()
        self._extended_at = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._said = ""

    def start(self) -> None:
        """Begin; once."""
        self.tick()
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it: up to a few seconds if Redis hangs."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(2 * TIMEOUT_S)
        self._beaten.close()

    def tick(self) -> None:
        """The event loop turns; to be called each second from it."""
        self._ticked_at = time.monotonic()

    @property
    def trouble(self) -> str | None:
        """What keeps it from beating, or None."""
        return "the heartbeat thread has died" if self.dead else self._said or None

    @property
    def dead(self) -> bool:
        """Whether the thread ended unasked: a defect, after which leases run out."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._ending.is_set()

    def __len__(self) -> int:
        """How many starts it keeps."""
        return len(self._held)

    def hold(self, run: str, fence: str, permit: Permit | None = None) -> None:
        """Keep the lease of this start from now on, and its permit, if it has one."""
        if permit is not None:
            self._permits[run, fence] = permit
        self._held[run, fence] = ids.partition_of(run)

    def release(self, run: str, fence: str) -> None:
        """Let it go; harmless twice."""
        self._held.pop((run, fence), None)
        self._told.pop((run, fence), None)
        self._permits.pop((run, fence), None)

    def tell(self, run: str, fence: str, progress: str) -> None:
        """Show with the next beat how far this start is (JSON)."""
        if (run, fence) in self._held:
            self._told[run, fence] = progress

    def beat(self, *, extend: bool) -> Found:
        """One round over all partitions.

        Raises:
            redis.exceptions.RedisError: some partitions were not reached.
        """
        found, trouble = self._beat_all(extend=extend)
        if trouble is not None:
            raise trouble
        return found

    def _beat_all(self, *, extend: bool) -> tuple[Found, Exception | None]:
        """As `beat`, with what went wrong beside what was found: one server's silence must not cost others' leases."""
        by_partition: dict[int, list[Held]] = {}
        for held, partition in self._held.copy().items():  # copy: the loop goes on meanwhile
            by_partition.setdefault(partition, []).append(held)
        found = Found([], [])
        troubles: dict[Redis, Exception] = {}
        for partition, runs in by_partition.items():
            server = self._beaten.of(self._log.keys(partition).due)
            if server in troubles:
                continue
            try:
                for start in range(0, len(runs), RUNS_MAX):
                    some = self._beat_some(server, partition, runs[start : start + RUNS_MAX], extend=extend)
                    found.moved.extend(some.moved)
                    found.cancelled.extend(some.cancelled)
            except (RedisError, OSError) as error:
                troubles[server] = error
        trouble = self._show_permits(set(found.moved), set(troubles)) if extend and self._permits else None
        if troubles or trouble:
            self._beaten.doubt()
        return found, next(iter(troubles.values()), trouble)

    def _show_permits(self, moved: set[Held], silent: set[Redis]) -> Exception | None:
        """Have the permits of runs that are still ours stand; without that, who wants one asks the log first."""
        by_pool: dict[str, list[str]] = {}
        for held, (pool, entry) in self._permits.copy().items():
            if held not in moved:
                by_pool.setdefault(pool, []).extend((held[0], entry))
        trouble: Exception | None = None
        for pool, shown in by_pool.items():
            names = permits.keys_of(self._log.keys(permits.partition_of(pool, self._log.partitions)), pool)
            try:
                server = self._beaten.of(names[0])
            except RedisError as error:  # nobody knows who has it: what was found is to be told all the same
                return error
            if server in silent:
                continue
            try:
                for start in range(0, len(shown), 2 * RUNS_MAX):
                    some = shown[start : start + 2 * RUNS_MAX]
                    self._script(server, permits.source())(keys=names, args=["keep", *self._times, *some])
            except (RedisError, OSError) as error:
                trouble = error
                silent.add(server)
        return trouble

    def _script(self, server: Redis, source: str) -> Script:
        if (server, source) not in self._scripts:
            self._scripts[server, source] = server.register_script(source)
        return self._scripts[server, source]

    def _beat_some(self, server: Redis, partition: int, runs: list[Held], *, extend: bool) -> Found:
        keys = self._log.keys(partition)
        base = keys.aggregate("run:")
        told = [self._told.get(held, "") for held in runs] if self._told else [""] * len(runs)
        moved, cancelled = self._script(server, _source())(
            keys=[keys.due, *[base + run for run, _ in runs], keys.meta],
            args=[
                self._lease_ms if extend else 0,
                *(
                    text
                    for (run, fence), progress in zip(runs, told, strict=True)
                    for text in (run, fence, progress)
                ),
            ],
        )
        for held, progress in zip(runs, told, strict=True):
            if progress and self._told.get(held) is progress:  # what was told meanwhile is still to be shown
                self._told.pop(held, None)
        return Found([runs[number - 1] for number in moved], [runs[number - 1] for number in cancelled])

    def _run(self) -> None:
        pause_s = min(LOOK_EVERY_S, self._extend_every_s)
        while not self._ending.wait(pause_s):
            if time.monotonic() - self._ticked_at > LOOP_STUCK_S:
                self._say(f"the event loop has been stuck for {LOOP_STUCK_S:.0f} s, so leases run out")
                continue
            try:
                self._round()
            except (RedisError, OSError) as error:
                self._say(f"{type(error).__name__}: {error}")
            else:
                self._said = ""

    def _round(self) -> None:
        started_at = time.monotonic()
        # A little early rather than a look too late: looks don't fall on thirds of a lease.
        extend = started_at - self._extended_at >= self._extend_every_s - LOOK_EVERY_S / 2
        found, trouble = self._beat_all(extend=extend)
        if found.moved or found.cancelled:
            self._on_found(found)
        if trouble is not None:
            raise trouble
        if extend:
            self._extended_at = started_at

    def _say(self, trouble: str) -> None:
        if not self._said:
            logs.get("daybook.executor").warning("heartbeat failed", error=trouble, runs=len(self._held))
        self._said = trouble


@cache
def _source() -> str:
    return resources.files("services.executor").joinpath("beat.lua").read_text()
