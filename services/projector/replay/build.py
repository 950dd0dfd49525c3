"""The build: what a replay has come to so far, in the schema `replay`; a second start goes on with it."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from importlib import metadata, resources
from typing import TYPE_CHECKING, NamedTuple

from services.projector.replay import blueprint, dropped
from services.projector.replay.names import BUILD, NEXT, beside, statement
from shared.readmodel import cuts
from shared.readmodel.database import changed, migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from importlib.resources.abc import Traversable

    from services.projector.rows import Refusal
    from shared.eventlog.envelope import Recorded
    from shared.eventlog.position import Position
    from shared.readmodel.archive import Connection

REPLAY_LOCK = 0x0DA7_0003  # advisory: one replay at a time in a database
PARTITION_LOCK = 0x0DA7_0003  # with a partition: of a worker, which may outlive its replay by a moment
READING, FINISHING, FOLLOWING = "reading", "finishing", "following"


class Unreplayable(Exception):  # noqa: N818 - it is read aloud
    """The ledgers can't be replayed now; the message is a sentence that says what to do. Nothing has changed."""


class Part(NamedTuple):
    """How far a partition has come.

    Attributes:
        begins: the pos after which the events that are read begin.
        pos: of the last event whose rows are written.
        upto: of the last that the workers read: there the archive ended when the replay began.
    """

    partition: int
    begins: int
    epoch: int
    pos: int
    upto: int

    @property
    def whole(self) -> int:
        """How many events workers read of it."""
        return max(0, self.upto - self.begins)

    @property
    def read(self) -> int:
        """How many of those they have."""
        return min(self.whole, self.pos - self.begins)


@asynccontextmanager
async def alone(connection: Connection) -> AsyncIterator[None]:
    """Be the only replay, and let no retention drop meanwhile what is being read.

    Raises:
        Unreplayable: another replay, or a retention, is at it.
    """
    if not await connection.fetchval("select pg_try_advisory_lock($1)", REPLAY_LOCK):
        raise Unreplayable("Another replay is under way in this database: wait until it has ended.")
    if not await connection.fetchval("select pg_try_advisory_lock($1)", cuts.RETENTION_LOCK):
        raise Unreplayable(
            "A cleanup_task drops old months of this database just now: start again when it has ended."
        )
    yield  # the locks go with the connection


async def resumed(connection: Connection, cold: str) -> bool:
    """Whether there is a build to go on with: this program's, of the same copies, and nothing was cut since."""
    if await connection.fetchval("select to_regclass('replay.build')") is None:
        return False
    return await connection.fetchval(statement("resumable"), _made_by(), cold) is True


async def begin(connection: Connection, cold: str, whole: set[int]) -> None:
    """Make the tables, empty but for what is carried over; a replay that can't be gone on with is thrown away.

    Args:
        connection: to the archive's database, in no transaction.
        cold: what the build reads beside the archive.
        whole: partitions whose dropped events are in the cold copies.
    """
    async with connection.transaction(isolation="repeatable_read"):
        await cuts.hold_still(connection)
        await throw_away(connection)
        plan = await blueprint.read(connection)
        await connection.execute(f"create schema {NEXT}")
        for each in plan.tables:
            await connection.execute(each)
        await connection.execute(statement("make_build"))
        await connection.execute(statement("begin_build"), _made_by(), cold)
        await connection.execute(statement("begin_partitions"), sorted(whole))
        await dropped.carry_over(connection, whole)


async def throw_away(connection: Connection) -> None:
    """Drop what a replay has built."""
    for schema in (BUILD, NEXT):
        await connection.execute(f"drop schema if exists {schema} cascade")


async def phase(connection: Connection) -> str:
    """What is to be done next."""
    told: str = await connection.fetchval("select phase from replay.build")
    return told


async def enter(connection: Connection, name: str) -> None:
    """Go on to the next phase."""
    await connection.execute("update replay.build set phase = $1", name)


async def parts(connection: Connection) -> list[Part]:
    """How far all partitions are."""
    return [Part(*row) for row in await connection.fetch(statement("partitions"))]


async def part(connection: Connection, partition: int) -> Part:
    """How far one is."""
    return next(each for each in await parts(connection) if each.partition == partition)


async def move(connection: Connection, partition: int, before: int, after: Position) -> None:
    """Note, in the transaction that writes the rows, that they go up to `after`.

    Raises:
        Unreplayable: somebody else has moved it.
    """
    status = await connection.execute(statement("move"), partition, before, *after)
    if changed(status) == 0:
        raise Unreplayable(f"Somebody else builds partition {partition}: start again.")


def check_following(partition: int, pos: int, events: Sequence[Recorded]) -> None:
    """Look whether events follow `pos` without a gap.

    Raises:
        Unreplayable: they don't.
    """
    if events[0].position.pos != pos + 1 or events[-1].position.pos != pos + len(events):
        raise Unreplayable(
            f"Events after position {pos} of partition {partition} are missing: see `daybook audit verify`."
        )


async def refuse(connection: Connection, partition: int, refused: Sequence[Refusal]) -> None:
    """Note jobs whose rows their table doesn't take, by the events that they are as of."""
    rows = [
        (partition, *each.position, each.model, each.key, each.sqlstate, each.message) for each in refused
    ]
    if rows:
        await connection.executemany(statement("refuse"), rows)


async def wait_for_orphans(connection: Connection) -> None:
    """Workers of a replay that was killed end with it, but for a statement under way."""
    for each in await parts(connection):
        await connection.execute("select pg_advisory_lock($1, $2)", PARTITION_LOCK, each.partition)
        await connection.execute("select pg_advisory_unlock($1, $2)", PARTITION_LOCK, each.partition)


async def make_triggers(connection: Connection, plan: blueprint.Blueprint) -> None:
    """Make functions and triggers; until the swap the functions write beside the live tables."""
    for each in plan.functions:
        await connection.execute(beside(each))
    for each in plan.triggers:
        await connection.execute(each)


def _made_by() -> str:
    """Of this very program: a build of another, which may have had the fault, is none to go on with."""
    digest = hashlib.sha256(metadata.version("daybook").encode())
    for package in ("services.projector", "shared.domain", "shared.eventlog"):
        for each in _sources(resources.files(package)):
            digest.update(each.read_bytes())
    digest.update("".join(migrations()).encode())
    return digest.hexdigest()


def _sources(folder: Traversable) -> Iterator[Traversable]:
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            yield from _sources(each)
        elif each.name.endswith((".py", ".sql")):
            yield each
