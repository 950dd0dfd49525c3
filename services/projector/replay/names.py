"""Names: the live schema, the one beside it, and where the statements of the projector find their tables meanwhile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from shared.readmodel.database import sql

if TYPE_CHECKING:
    import asyncpg

    from services.projector.rows import Table
    from shared.readmodel.archive import Connection

LIVE, NEXT, OLD, BUILD = "ledger", "ledger_next", "ledger_before", "replay"
_IN_LIVE = re.compile(rf"\b{LIVE}\.")


def statement(name: str) -> str:
    """The text of `statements/<name>.sql`."""
    return sql("services.projector.replay", f"statements/{name}.sql")


def beside(text: str) -> str:
    """A definition in `ledger` as one in `ledger_next`."""
    return _IN_LIVE.sub(f"{NEXT}.", text)


class Placed:
    """A connection on which the projector's statements are about the ledgers beside the live ones.

    Args:
        connection: to the archive's database.
        reading: while the workers read, jobs are gathered in `replay.jobs`, whose rows the triggers have not seen, and
            runs that were carried over as they stand are not known.
    """

    def __init__(self, connection: Connection, *, reading: bool) -> None:
        self.connection = connection
        self._places = [
            ("book.snapshots", "replay.snapshots"),
            ("book.waypoints", "replay.waypoints"),
            ("book.projection_errors", "replay.projection_errors"),
        ]
        if reading:
            self._places += [
                ("ledger.jobs", "replay.jobs"),
                ("join ledger.runs", "join replay.runs_known as runs"),
            ]

    def text(self, statement: str) -> str:
        """A statement of the projector, with the tables that it is about now."""
        for live, place in self._places:
            statement = statement.replace(live, place)
        return beside(statement)

    def table(self, table: Table) -> Table:
        """Rows of the projector for such a table."""
        return type(table)(model=table.model, statement=self.text(table.statement), rows=table.rows)

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Ask, as a connection would."""
        return await self.connection.fetch(self.text(query), *args)

    async def execute(self, query: str, *args: Any) -> str:
        """Do."""
        return await self.connection.execute(self.text(query), *args)
