"""`cleanup_task`, `archive`: drops months of the archive, oldest first, and leaves nothing less true.

```
 beyond retention_days ─▶ held by a cold copy ─▶ read: positions, chain, fold ─▶ snapshots are newer ─▶ one transaction:
                                                                 states brought forward, cut noted, month dropped
```
The first month that stays keeps all that follow, so that each partition's archive begins at one place, its cut. There
the hash chain goes on from the link that is noted. Recovery and audit begin with the states that were brought forward.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from services.executor.handlers.cleanup_task_retention import statement
from shared.domain import ids
from shared.eventlog.envelope import Recorded, UnknownEvent
from shared.eventlog.position import Position
from shared.eventlog.snapshot import NewerShape
from shared.readmodel import cuts
from shared.readmodel.chain import FIELDS, GENESIS, link
from shared.readmodel.database import columns
from shared.recovery import brought_forward
from shared.recovery.brought_forward import Balance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import asyncpg

    from services.executor.handlers.cleanup_task_retention import Month, Retention
    from shared.job_types.cleanup_task import Archive
    from shared.readmodel.cuts import Cut

EVENTS = "book.events"
READ = 2_000  # events a round trip
WRITTEN = 1_000  # rows a statement
OLDER = "an older month stays: what is left of the archive has no hole"
BUSY = "it was being read all the time, by an audit or a backup: the next run may drop it"


class Stays(Exception):  # noqa: N818 - a finding
    """The month must stay; the message is a sentence's end that says why."""


async def retain_archive(retention: Retention, task: Archive) -> None:
    """Drop what may be dropped of the archive."""
    before = retention.now - timedelta(days=task.retention_days)
    readings = await _readings(retention.connection)
    months = await retention.months(EVENTS, before=before)
    for number, month in enumerate(months):
        retention.run.progress(number / len(months), month.name)
        try:
            await _take(retention, readings, month, task)
        except Stays as why:
            retention.kept(month, str(why))
            for later in months[number + 1 :]:
                retention.kept(later, OLDER)
            return


async def _take(retention: Retention, readings: Sequence[Reading], month: Month, task: Archive) -> None:
    """Drop one month, the oldest.

    Raises:
        Stays: see there; nothing was changed.
    """
    for reading in readings:
        reading.covered = await _covered(retention.connection, reading) if task.require_cold_copy else None
        await _check_covered(retention.connection, reading, month)
    for reading in readings:
        await reading.read(retention.connection, month.until)
        await _check_told(retention.connection, reading)
    events = sum(reading.events for reading in readings)
    if not retention.retained.dry_run:
        await _drop(retention, readings, month, needs_copy=task.require_cold_copy)
    for reading in readings:
        reading.settle(forget=not retention.retained.dry_run)
    retention.dropped(month, events)


# Reading.


class Reading:
    """How far a partition's archive was read, and what it has come to by then.

    Attributes:
        at: position of the last event read.
        id: of that event.
        when: it was committed.
        chain: its link.
        events: how many were read since the last cut.
        cut_pos: of that.
        balance: the states.
        covered: up to which pos cold copies hold everything; None: that isn't asked for.

    Args:
        partition: whose.
        cut: where its archive begins.
    """

    def __init__(self, partition: int, cut: Cut | None) -> None:
        self.partition = partition
        self.at = Position(0, 0) if cut is None else Position(cut.epoch, cut.pos)
        self.id = "" if cut is None else cut.id
        self.when: datetime | None = None if cut is None else cut.at
        self.chain = GENESIS if cut is None else cut.chain
        self.events = 0
        self.cut_pos = self.at.pos
        self.balance = Balance()
        self.covered: int | None = None

    async def read(self, connection: asyncpg.Connection, until: datetime) -> None:
        """Read, check and fold all events that were committed before `until`.

        Raises:
            Stays: they can't be read or folded, or aren't what they were.
        """
        while rows := await connection.fetch(statement("events"), self.partition, self.at.pos, until, READ):
            events = [_recorded(row) for row in rows]
            try:
                known = await brought_forward.brought_forward_of(connection, self.balance.missing(events))
                self.balance.tell(known.values())
                for event, row in zip(events, rows, strict=True):
                    self._take(event, row["chain"])
            except NewerShape as error:
                raise Stays(f"{error}: let a newer Daybook do it") from error

    def settle(self, *, forget: bool) -> None:
        """All that was read is cut off; `forget`: and what it came to was brought forward."""
        self.events, self.cut_pos = 0, self.at.pos
        if forget:
            self.balance.settle()

    def _take(self, event: Recorded, chain: bytes) -> None:
        if event.position.pos != self.at.pos + 1:
            raise Stays(f"what follows {self.partition}:{self.at} is missing: see `daybook audit verify`")
        if link(self.chain, _linked(event)) != chain:
            raise Stays(f"the hash chain is broken at {event.place}: see `daybook audit verify`")
        try:
            self.balance.take(event)
        except UnknownEvent as error:
            raise Stays(f"{event.place} can't be read ({error}): let a newer Daybook do it") from error
        except ValueError as error:
            raise Stays(f"{event.place} {event.type} can't be folded ({error})") from error
        self.at, self.id, self.when, self.chain = event.position, event.id, ids.from_ms(event.at), chain
        self.events += 1


async def _readings(connection: asyncpg.Connection) -> list[Reading]:
    rows = await connection.fetch("select partition from book.checkpoints order by partition")
    return [Reading(row[0], await cuts.cut_of(connection, row[0])) for row in rows]


def _recorded(row: asyncpg.Record) -> Recorded:
    fields: dict[str, Any] = dict(row)
    position = Position(fields.pop("epoch"), fields.pop("pos"))
    del fields["chain"]
    return Recorded(position=position, at=ids.to_ms(fields.pop("at")), **fields)


def _linked(event: Recorded) -> tuple[str | int, ...]:
    """The fields that the chain goes over."""
    told = {"epoch": event.position.epoch, "pos": event.position.pos}
    return tuple(told[name] if name in told else getattr(event, name) for name in FIELDS)


# What keeps a month.


async def _covered(connection: asyncpg.Connection, reading: Reading) -> int:
    """Up to which pos cold copies hold everything that follows the last cut."""
    upto = reading.cut_pos
    for first, last in await connection.fetch(statement("cold_copies"), reading.partition, upto):
        if first > upto + 1:
            break
        upto = max(upto, last)
    return upto


async def _check_covered(connection: asyncpg.Connection, reading: Reading, month: Month) -> None:
    """Look before reading, which takes long.

    Raises:
        Stays: no cold copy holds all of it.
    """
    if reading.covered is None:
        return
    last = await connection.fetchval(
        f"select max(pos) from {month.name} where partition = $1",  # noqa: S608 - Postgres has quoted it
        reading.partition,
    )
    if last is not None and last > reading.covered:
        raise Stays(
            f"no cold copy holds {reading.partition}:{reading.covered + 1} to {last}: run a backup_task of "
            "backup_type log first, or set require_cold_copy to false"
        )


async def _check_still_covered(connection: asyncpg.Connection, readings: Sequence[Reading]) -> None:
    """Look again, and let no copy be struck out until the month has gone.

    Raises:
        Stays: one was, while the month was read.
    """
    await connection.execute("lock table book.cold_copies in share mode")
    for reading in readings:
        if await _covered(connection, reading) < reading.at.pos:
            raise Stays(f"the cold copy of {reading.partition}:{reading.at} was deleted meanwhile")


async def _check_told(connection: asyncpg.Connection, reading: Reading) -> None:
    """Look at what recovery needs beside what is brought forward, and at what would never be mended.

    Raises:
        Stays: a job has no snapshot beyond the month, or a ledger has refused what it tells.
    """
    if reading.covered is not None and reading.at.pos > reading.covered:
        raise Stays(f"no cold copy holds {reading.partition}:{reading.covered + 1} to {reading.at.pos}")
    jobs = [each for each in reading.balance.standing() if each.ref.startswith("job:")]
    for some in _parts(jobs, WRITTEN):
        refs, at = [each.ref for each in some], [each.version.pos for each in some]
        if behind := await connection.fetchval(statement("behind"), refs, at):
            raise Stays(f"{behind} has no snapshot that is newer")
    if refused := await connection.fetchval(statement("refused"), reading.partition, reading.at.pos):
        raise Stays(
            f"{refused} rows that a ledger refused, or events it could not read, are told of by it: see "
            "book.projection_errors"
        )


# Dropping.


async def _drop(retention: Retention, readings: Sequence[Reading], month: Month, *, needs_copy: bool) -> None:
    """Bring forward, note the cuts, keep what is asked for one by one, and drop the month: all of it or nothing.

    Raises:
        Stays: others read the archive all the time, or a cold copy was deleted meanwhile.
    """
    connection, run = retention.connection, retention.run
    async with connection.transaction():
        if needs_copy:
            await _check_still_covered(connection, readings)
        for reading in readings:
            await _bring_forward(connection, reading)
            if reading.events:
                await connection.execute(
                    statement("cut"),
                    reading.partition,
                    *reading.at,
                    reading.id,
                    reading.when,
                    reading.chain,
                    reading.events,
                    month.name,
                    run.run_id,
                    run.job_id,
                )
        await connection.execute(statement("keep_events"), month.until)
        if not await retention.drop(EVENTS, month):
            raise Stays(BUSY)
        # Events of months that had no table of their own stand in the default one.
        await connection.execute("delete from book.events where at < $1", month.until)
    for reading in readings:
        if reading.events:
            run.log(f"the archive of partition {reading.partition} begins after {reading.at}")


async def _bring_forward(connection: asyncpg.Connection, reading: Reading) -> None:
    standing = reading.balance.standing()
    for some in _parts(standing, WRITTEN):
        rows = [brought_forward.stored(each, reading.partition) for each in some]
        await connection.execute(statement("bring_forward"), *columns(rows))
    for ended in _parts(sorted(reading.balance.ended), WRITTEN):
        await connection.execute(statement("ended"), ended)
    await connection.execute(statement("waypoints"), reading.partition, reading.at.pos)


def _parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for begin in range(0, len(items), size):
        yield list(items[begin : begin + size])
