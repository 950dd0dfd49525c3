"""What cold copies of the archive there are: months of it may be dropped that one of them holds.

Whoever writes a copy enters it once it was read back and its links were found to follow from each other; whoever
deletes one strikes it out first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from shared.readmodel.database import columns, sql

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.readmodel.archive import Asked, Connection


class Range(NamedTuple):
    """Consecutive positions of a partition, both included."""

    partition: int
    first: int
    last: int


class Segment(Protocol):
    """Consecutive events of one partition, all of whose links follow from each other.

    Attributes:
        first: epoch and pos of its first event.
        last: of its last.
        count: of events.
        chain: the link of its last event, hex.
        sha256: of its file, hex.
    """

    @property
    def partition(self) -> int: ...  # noqa: D102 - the class says it
    @property
    def first(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def last(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def chain(self) -> str: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102


async def enter(connection: Asked, place: str, run_id: str, segments: Iterable[Segment]) -> None:
    """Enter a copy, or what has been added to it.

    Args:
        connection: to the archive's database.
        place: its URL, without any password; its last part is a name that no other copy has.
        run_id: the execution that made it.
        segments: what it holds. One whose links are broken doesn't belong here.
    """
    rows = [
        (each.partition, *each.first, *each.last, each.count, bytes.fromhex(each.chain), each.sha256)
        for each in segments
    ]
    if rows:
        text = sql("shared.readmodel", "statements/enter_cold_copy.sql")
        await connection.execute(text, place, run_id, *map(list, columns(rows)))


async def strike(connection: Asked, name: str) -> None:
    """Strike a copy out, before it is deleted or replaced: nothing is dropped on its account any more.

    Args:
        connection: to the archive's database.
        name: its place, or the last part of that: one place may be reached by several URLs.
    """
    await connection.execute(sql("shared.readmodel", "statements/strike_cold_copy.sql"), name)


async def strike_spare(connection: Connection, name: str) -> Range | None:
    """Strike a copy out, as above, unless it alone holds events that have left the archive.

    Returns:
        The first of those, and it is still entered; None: it is struck out.
    """
    async with connection.transaction():
        # Whoever drops a month holds a lock of this table until that is done.
        await connection.execute("lock table book.cold_copies in share row exclusive mode")
        row = await connection.fetchrow(sql("shared.readmodel", "statements/sole_cold_copy.sql"), name)
        if row is not None:
            return Range(*row)
        await strike(connection, name)
        return None
