"""A replay from its beginning to its end; see the package for the picture."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from services.projector.replay import blueprint, build, cold, comparing, finishing, swapping, worker
from services.projector.replay.build import Unreplayable
from services.projector.replay.builder import Builder, archived
from services.projector.replay.workers import Workers
from shared.readmodel import database
from shared.readmodel.archive import find_deployment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from services.projector.replay.blueprint import Blueprint
    from services.projector.replay.comparing import Compared

FOLLOWED = 2_000  # events a transaction
LEVEL = 500  # events that may be left for the swap, which takes them while all wait
LOOK_EVERY_S = 0.3
SWAP_TRIES_S = 600.0
SWAP_AGAIN_S = 0.2


class Told(Protocol):
    """Hears how far a stage is: its name, how much is done, how much there is in all."""

    def __call__(self, stage: str, done: int, whole: int) -> object: ...  # noqa: D102 - the class says it


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What workers have read: events, all in all, those of them before this start, and the seconds since."""

    events: int
    resumed: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Events a second."""
        return (self.events - self.resumed) / max(self.seconds, 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a replay has come to.

    Attributes:
        read: by workers.
        tables: how the live ledgers compare.
        swapped_s: how long others had to wait for those made anew to be live; None: they aren't.
        kept: whether the former ones still stand, as `ledger_before`.
    """

    read: Read
    tables: Sequence[Compared]
    swapped_s: float | None
    kept: bool

    @property
    def differ(self) -> int:
        """How many rows do."""
        return sum(each.differ for each in self.tables)


class Replay:
    """One replay.

    Args:
        url: of the archive's database.
        copies: directories of cold copies, which hold what retention has dropped.
        workers: processes; None: one a processor.
        told: hears how far it is.
    """

    def __init__(
        self, url: str, *, told: Told, copies: Sequence[str] = (), workers: int | None = None
    ) -> None:
        self._url = url
        self._copies = tuple(copies)
        self._workers = workers or os.cpu_count() or 1
        self._told = told
        self._builders: list[Builder] = []

    async def run(self, *, dry_run: bool, keep_old: bool = False, anew: bool = False) -> Outcome:
        """Rebuild, compare, and swap unless `dry_run`; `anew`: don't go on with what a killed one has built.

        Raises:
            Unreplayable: see there.
        """
        pool = await database.connect_pool(
            self._url, max_size=6, statement_timeout_s=worker.STATEMENT_TIMEOUT_S, session=worker.SETTINGS
        )
        async with pool, pool.acquire() as lock, build.alone(lock):
            plan = await self._begun(lock, swaps=not dry_run, anew=anew)
            read = await self._read(lock)
            if await build.phase(lock) != build.FOLLOWING:
                await finishing.finish(
                    pool, plan, lambda done, whole: self._told("making indexes", done, whole)
                )
            async with pool.acquire() as writer:
                tables = await self._compare(pool, writer)
                if dry_run:
                    await build.throw_away(writer)
                    return Outcome(read=read, tables=tables, swapped_s=None, kept=False)
                swapped_s = await self._swap(writer, plan)
                keep = keep_old or any(each.differ for each in tables)
                kept = keep or not await swapping.drop_old(writer)
                return Outcome(read=read, tables=tables, swapped_s=swapped_s, kept=kept)

    async def _begun(
        self, connection: asyncpg.pool.PoolConnectionProxy, *, swaps: bool, anew: bool
    ) -> Blueprint:
        """Begin, or go on with what is there; return how `ledger` is made."""
        fixed = await find_deployment(connection)
        if fixed is None:
            raise Unreplayable("This database has no deployment yet: the first start of a service makes one.")
        if swaps and (others := await blueprint.dependents(connection)):
            raise Unreplayable(
                f"Bound to the live tables is what isn't Daybook's: {', '.join(others)}. It would go on showing "
                "the old ledgers: drop it, and make it again after the replay."
            )
        cold_id = " ".join(sorted(self._copies))
        if anew or not await build.resumed(connection, cold_id):
            copies = cold.opened(self._copies)
            whole = (
                await cold.check(connection, copies, fixed.prefix, self._proving) if copies else set[int]()
            )
            await build.begin(connection, cold_id, whole)
        await build.wait_for_orphans(connection)
        return await blueprint.read(connection)

    def _proving(self, part: float) -> None:
        self._told("proving the copies", round(part * 100), 100)

    # Reading.

    async def _read(self, connection: asyncpg.pool.PoolConnectionProxy) -> Read:
        """Have workers read what is left; tell how far they are."""
        parts = await build.parts(connection)
        before, whole, began_at = (
            sum(each.read for each in parts),
            sum(each.whole for each in parts),
            time.monotonic(),
        )
        if before < whole:
            async with Workers(self._url, self._copies, min(self._workers, len(parts))) as workers:
                while workers.are_at_it():
                    await asyncio.sleep(LOOK_EVERY_S)
                    self._told("reading", before + workers.read, whole)
        if left := [each for each in await build.parts(connection) if each.pos < each.upto]:
            raise Unreplayable(f"Partition {left[0].partition} was not read to its end: start again.")
        return Read(events=whole, resumed=before, seconds=time.monotonic() - began_at)

    # Following.

    async def _follow(
        self, connection: asyncpg.pool.PoolConnectionProxy, upto: Mapping[int, int] | None = None
    ) -> int:
        """Take what has been archived since, up to these positions; return how many events that were."""
        taken = 0
        for builder in self._builders:
            end = None if upto is None else upto[builder.partition]
            count = FOLLOWED
            while count == FOLLOWED:  # not to the last, which is never the last while others write
                events = await archived(connection, builder.partition, builder.pos, limit=FOLLOWED, upto=end)
                if events:
                    await builder.take(events)
                count = len(events)
                taken += count
        return taken

    async def _build_on(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        self._builders = [Builder(connection, each) for each in await build.parts(connection)]

    async def _compare(
        self, pool: asyncpg.Pool, writer: asyncpg.pool.PoolConnectionProxy
    ) -> Sequence[Compared]:
        """Compare as of one moment, to which what was built is brought."""
        await self._build_on(writer)
        while await self._follow(writer) > LEVEL:
            self._told("following", 0, 0)
        self._told("comparing", 0, 0)
        async with pool.acquire() as live, live.transaction(isolation="repeatable_read", readonly=True):
            ends = dict(map(tuple, await live.fetch("select partition, pos from book.checkpoints")))
            await self._follow(writer, ends)
            return await comparing.compare(live, writer)

    async def _swap(self, writer: asyncpg.pool.PoolConnectionProxy, plan: Blueprint) -> float:
        """Try until the locks are had, and follow meanwhile; return how long others had to wait.

        Raises:
            Unreplayable: they weren't.
        """
        self._told("swapping", 0, 0)
        if not await swapping.drop_old(writer):  # not in the swap: all would wait for who reads those
            raise Unreplayable(
                "The ledgers that an earlier replay has kept, ledger_before, are being read. All that was built is "
                "kept: start again when that has ended."
            )
        give_up_at = time.monotonic() + SWAP_TRIES_S
        while True:
            while await self._follow(writer) > LEVEL:
                pass
            waited_s = await swapping.swap(writer, plan, lambda: self._follow(writer))
            if waited_s is not None:
                return waited_s
            if time.monotonic() > give_up_at:
                raise Unreplayable(
                    "The ledgers were read all the time, by an audit, a backup or a report. All that was built is "
                    "kept: start again when that has ended."
                )
            await self._build_on(writer)  # what the swap had taken is taken back
            await swapping.call_off_vacuum(writer)
            await asyncio.sleep(SWAP_AGAIN_S)
