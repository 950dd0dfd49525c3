"""One audit from its beginning to its lines.

```
 of each partition:
   where does the log begin?         ─▶ archived events after that are remembered by their seal
   Postgres, one moment: events ─▶ order, chain, schedule, runs, fold;  then its rows ─▶ ledgers, snapshots
   the log up to the archive's end   ─▶ the same, to the byte
   pages of Redis, each one moment   ─▶ the fold follows the log to that moment, then states, due index, work
```
What the log has trimmed before the audit came to it is read from the archive instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.projector.audit import archive, calendars, erasures, ledgers, standing, write_side
from services.projector.audit.fold import Fold
from services.projector.audit.ledgers import Refusals
from services.projector.audit.lines import Findings, Invariant, Line
from services.projector.audit.sequence import Sequence as Order
from services.projector.audit.write_side import Names, WriteSide
from shared.domain import ids
from shared.domain.value import Value
from shared.eventlog.keys import Keys
from shared.eventlog.position import START, Position
from shared.readmodel.archive import find_deployment
from shared.readmodel.cuts import Cut  # noqa: TC001 - the codec reads these annotations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from datetime import datetime

    import asyncpg
    from redis.asyncio import Redis

    from services.projector.audit.standing import Work
    from shared.eventlog.envelope import Recorded
    from shared.readmodel.archive import Checkpoint, Connection, Deployment

NO_POS = 2**63  # above every position


class Unauditable(Exception):  # noqa: N818 - it is read aloud
    """There is nothing to audit, or it can't be read. The message is a sentence that says what to do."""


class Report(Value, frozen=True, kw_only=True):
    """What an audit has come to.

    Attributes:
        partitions: those that were read.
        events: how many events that was.
        begins: partition → the last event that was dropped, where the archive doesn't begin with the first.
        lines: one an invariant.
    """

    partitions: tuple[int, ...]
    events: int
    begins: dict[int, Cut]
    lines: tuple[Line, ...]

    @property
    def violations(self) -> int:
        """Of all invariants."""
        return sum(line.violations for line in self.lines)


async def verify(pool: asyncpg.Pool, redis: Redis, *, partition: int | None = None) -> Report:
    """Audit the deployment whose database this is; it may be at work.

    Args:
        pool: of the archive's database, of two connections or more, whose statements may take their time.
        redis: a client for commands, of the server that has the log.
        partition: only this one.

    Raises:
        Unauditable: see there.
    """
    told = await _deployment(pool)
    partitions = _chosen(told, partition)
    keys = [Keys(told.prefix, each) for each in partitions]
    names = await write_side.names(redis, keys)
    findings = Findings()
    events, tail, begins = 0, [], {}
    for each in keys:
        audit = _Audit(findings, pool, WriteSide(redis, each), names[each.partition], each.partition)
        await audit.run()
        events += audit.order.at.pos
        if audit.cut is not None:
            events -= audit.cut.pos
            begins[each.partition] = audit.cut
        tail += audit.tail
    count, example = await archive.repeated_id(pool, partitions, tail)
    for _ in range(count):
        findings.wrong(Invariant.IDS, example)
    return Report(partitions=partitions, events=events, begins=begins, lines=findings.lines())


async def _deployment(pool: asyncpg.Pool) -> Deployment:
    told = await find_deployment(pool)
    if told is None:
        raise Unauditable("This database has no deployment yet: the first start of a service makes one.")
    return told


def _chosen(told: Deployment, partition: int | None) -> tuple[int, ...]:
    if partition is None:
        return tuple(range(told.partitions))
    if not 0 <= partition < told.partitions:
        raise Unauditable(
            f"There is no partition {partition}: this deployment has 0 to {told.partitions - 1}."
        )
    return (partition,)


class _Audit:
    """The audit of one partition.

    Attributes:
        order: how far it has come.
        tail: events that were read from the log, after the archive's end.
        cut: after which event the archive begins; None: with the first.
    """

    def __init__(
        self, findings: Findings, pool: asyncpg.Pool, redis: WriteSide, names: Names, partition: int
    ) -> None:
        self.order = Order(findings, recent_from=NO_POS)
        self.tail: list[Recorded] = []
        self.cut: Cut | None = None
        self._run_cuts: dict[str, datetime] = {}
        self._findings = findings
        self._pool = pool
        self._redis = redis
        self._names = names
        self._partition = partition
        self._fold = Fold(findings, names.refs)

    async def run(self) -> None:
        """Look at everything."""
        first = await self._redis.first()
        if first is None:
            raise Unauditable(
                f"Redis holds no log of partition {self._partition}: check DAYBOOK_REDIS_URL, or start Daybook, "
                "which opens it."
            )
        self.order = Order(self._findings, recent_from=first.pos)
        async with archive.one_moment(self._pool) as connection:
            end = await archive.checkpoint(connection, self._partition)
            if end is None:
                raise Unauditable(
                    f"The database has never heard of partition {self._partition}: start Daybook."
                )
            refusals = Refusals(await archive.refused(connection, self._partition))
            await self._begin(connection)
            await self._read_archive(connection, refusals)
            self.order.ends_at(end)
            await self._check_ledgers(connection, refusals)
        erased = erasures.erased(self._fold)
        erasures.check_copies(self._findings, erased, await self._redis.copies_of(erased))
        await self._compare_log(first)
        if await self._goes_on(end) and await self._check_aggregates():
            await self._check_work()

    # Postgres.

    async def _begin(self, connection: Connection) -> None:
        """Begin where the archive does: with what was brought forward from what was dropped."""
        self._run_cuts = await archive.run_cuts(connection)
        self.cut, brought = await archive.cut(connection, self._partition)
        if self.cut is not None:
            self.order.begins_after(self.cut)
            self._fold.bring_forward(brought, whole_from_ms=ids.to_ms(self.cut.at))

    async def _read_archive(self, connection: Connection, refusals: Refusals) -> None:
        async for recorded, chain in archive.events(connection, self._partition):
            self.order.archived(recorded, chain)
            refusals.saw(recorded)
            self._fold.take(recorded, ledgers=True)
            if len(self._fold.over) >= archive.AT_ONCE:
                await self._check_runs(connection, refusals, self._fold.over, last=False)
                self._fold.over.clear()
        await self._check_runs(connection, refusals, list(self._fold.rows), last=True)

    async def _check_runs(
        self, connection: Connection, refusals: Refusals, run_ids: Sequence[str], *, last: bool
    ) -> None:
        for part in _parts([each for each in run_ids if each in self._fold.rows], archive.AT_ONCE):
            records = await archive.runs(connection, part)
            ledgers.check_runs(
                self._findings, self._fold, refusals, part, records, last=last, cuts=self._run_cuts
            )

    async def _check_ledgers(self, connection: Connection, refusals: Refusals) -> None:
        findings, fold, partition = self._findings, self._fold, self._partition
        found = set()
        async for record in archive.jobs(connection, partition):
            found.add(ledgers.check_job(findings, fold, refusals, record, partition))
        ledgers.check_missing_jobs(findings, fold, refusals, found)
        found = set()
        async for record in archive.snapshots(connection, partition):
            found.add(ledgers.check_snapshot(findings, fold, refusals, record, partition))
        ledgers.check_missing_snapshots(findings, fold, refusals, found)
        async for record in archive.run_ids(connection, partition):
            ledgers.check_unheard_of(findings, fold, record)
        ledgers.check_hours(findings, fold, refusals, await archive.hours(connection, partition), partition)
        rows = await archive.calendars(connection, partition)
        calendars.check(findings, fold, refusals, rows, partition)
        erasures.check_rows(
            findings, fold, [each async for each in archive.personal_keys(connection, partition)]
        )
        refusals.tell(findings, fold)

    # The log.

    async def _compare_log(self, first: Position) -> None:
        """Compare the log with the archive, where both hold an entry."""
        end, before = self.order.at, Position(first.epoch, first.pos - 1)
        if self.cut is not None and before.pos < self.cut.pos:
            before = Position(self.cut.epoch, self.cut.pos)
        while before < end and (entries := await self._log(before, end)):
            for recorded in entries:
                self.order.logged(recorded)
            before = entries[-1].position
        self.order.was_logged(self._partition, await self._redis.first() or end)

    async def _goes_on(self, end: Checkpoint) -> bool:
        """Whether the log goes on from the archive's end, so that what Redis holds can be compared with a fold."""
        position = await self._redis.position()
        if position is not None and position.pos >= end.pos:
            return True
        self._findings.expect(
            Invariant.LOG,
            False,
            f"partition {self._partition}: the log ends at {position or START}, the archive at {end.epoch}-{end.pos}; "
            "states in Redis were not compared",
        )
        return False

    async def _follow(self, upto: Position | None) -> bool:
        """Fold the log up to a position; return whether that could be done.

        Raises:
            Unauditable: the log was set back while it was read.
        """
        if upto is None or upto.pos < self.order.at.pos:
            raise Unauditable(
                f"The log of partition {self._partition} was set back from {self.order.at} to {upto} while it was "
                "read: wait until it is healed, and audit again."
            )
        while self.order.at.pos < upto.pos:
            if not await self._go_on(upto):
                self._findings.wrong(
                    Invariant.POSITIONS,
                    f"partition {self._partition}: what follows {self.order.at} is neither in the log nor in the "
                    "archive; states in Redis were not compared",
                )
                return False
        return True

    async def _go_on(self, upto: Position) -> bool:
        """Take the events that come next: from the log, or from the archive what the log has trimmed."""
        after = self.order.at
        entries = await self._log(after, upto)
        if not entries or entries[0].position.pos != after.pos + 1:
            archived = await archive.events_after(self._pool, self._partition, after.pos)
            self._take_archived(archived, upto)
            return self.order.at != after
        for recorded in entries:
            self.order.goes_on(recorded)
            self._fold.take(recorded, ledgers=False)
        self.tail += entries
        return True

    def _take_archived(self, archived: Iterable[tuple[Recorded, bytes]], upto: Position) -> None:
        for recorded, chain in archived:
            if not self.order.at.pos < recorded.position.pos <= upto.pos:
                return
            if self.tail:  # its link follows from events whose links were not read
                self.order.goes_on(recorded)
            else:
                self.order.archived(recorded, chain)
            self._fold.take(recorded, ledgers=False)

    async def _log(self, after: Position, upto: Position) -> list[Recorded]:
        try:
            return await self._redis.log(after, upto)
        except ValueError as error:
            raise Unauditable(
                f"The log of partition {self._partition} holds something else than events: {error}"
            ) from None

    # States, due index and work streams.

    async def _check_aggregates(self) -> bool:
        """Look at all that Redis has, and at all that it must have; return whether events led up to it."""
        if not await self._follow(await self._redis.position()):
            return False
        fold = self._fold
        must = {f"run:{each}" for each in fold.runs} | {f"job:{each}" for each in fold.jobs}
        must |= fold.others.keys()
        refs = sorted(must | self._names.refs | await self._redis.due())
        for part in _parts(refs, write_side.AT_ONCE):
            position, now_ms, page = await self._redis.page(part)
            if not await self._follow(position):
                return False
            for seen in page:
                standing.check(self._findings, fold, seen, now_ms=now_ms)
        return True

    async def _check_work(self) -> None:
        queued = {
            run_id: place for run_id in self._fold.runs if (place := standing.is_queued(self._fold, run_id))
        }
        for part in _parts(list(queued), write_side.AT_ONCE):
            position, found = await self._redis.have([queued[run_id] for run_id in part])
            if not await self._follow(position):
                return
            for run_id, is_there in zip(part, found, strict=True):
                if standing.is_queued(self._fold, run_id) == queued[run_id]:
                    standing.check_queued(self._findings, run_id, *queued[run_id], found=is_there)
        for work in sorted({place[0] for place in queued.values()} | self._names.work):
            async for position, entries in self._entries(work):
                if not await self._follow(position):
                    return
                standing.check_entries(self._findings, self._fold, work, entries)

    async def _entries(self, work: Work) -> AsyncIterator[tuple[Position | None, list[standing.Entry]]]:
        after = "0-0"
        while True:
            position, entries = await self._redis.entries(work, after)
            if not entries:
                return
            yield position, entries
            after = entries[-1].id


def _parts(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
