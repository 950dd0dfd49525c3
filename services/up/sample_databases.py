"""Two sample databases beside Daybook's own, on the embedded server: `legacy_db` with data, `new_db` without.

Both belong to a role of their own, which can't read Daybook's. They are made once for a cluster: a note of it lies
beside the cluster and goes with it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared.embedded.secret import secret_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

NAMES = ("legacy_db", "new_db")
ROLE = "samples"
CUSTOMERS = 5_000
ORDERS = 12_000
FIRST = ("Ada", "Grace", "Łukasz", "Zoë", "Björn", "Mária", "D'Arcy", "Inès", "Noor", "Kenji")
LAST = ("Lovelace", "Hopper", "Nowak", "Müller", "Åberg", "O'Neill", "Šimić", "García", "Haddad", "Mori")
CITIES = ("Łódź", "Kraków", "Berlin", "Lyon", "Zürich", None)
STATES = ("paid", "shipped", "returned", "open")


class SampleDatabases:
    """Makes them, and knows their addresses.

    Args:
        folder: where the cluster is; exists once the server has started.
    """

    def __init__(self, folder: Path) -> None:
        self._password = folder / "samples_password"
        self._made = folder / "samples_made"

    def url(self, server: str, name: str) -> str:
        """The address of the database `name` for their role; `server` is the address of Daybook's own."""
        parts = urlsplit(server)
        netloc = f"{ROLE}:{secret_in(self._password)}@{parts.netloc.rpartition('@')[2]}"
        return parts._replace(netloc=netloc, path=f"/{name}").geturl()

    async def make(self, server: str) -> None:
        """Make what isn't there; a start that was broken off is gone on with."""
        if self._made.exists():
            return
        import asyncpg  # noqa: PLC0415 - other starts do without, and are quicker

        connection = await asyncpg.connect(server)
        try:
            await self._make_role(connection)
            there = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
            for name in NAMES:
                if name not in there:
                    await connection.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
        finally:
            await connection.close()
        await self._fill(await asyncpg.connect(self.url(server, "legacy_db")))
        self._made.touch()

    async def _make_role(self, connection: asyncpg.Connection) -> None:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
            await connection.execute(f"CREATE ROLE {ROLE} LOGIN")
        # Its password is of hexadecimal digits; a statement of this kind takes no arguments.
        await connection.execute(f"ALTER ROLE {ROLE} PASSWORD '{secret_in(self._password)}'")
        await connection.execute("REVOKE CONNECT ON DATABASE daybook FROM PUBLIC")

    async def _fill(self, connection: asyncpg.Connection) -> None:
        try:
            async with connection.transaction():
                if await connection.fetchval("SELECT to_regclass('orders') IS NULL"):
                    statements = Path(__file__).with_name("legacy_db.sql").read_text(encoding="utf-8")
                    await connection.execute(statements)
                    await connection.copy_records_to_table("customers", records=_customers())
                    await connection.copy_records_to_table("orders", records=_orders())
        finally:
            await connection.close()


def _customers() -> Iterator[tuple[Any, ...]]:
    since = datetime(2019, 1, 7, 9, tzinfo=UTC)
    chance = Random(1)
    for number in range(1, CUSTOMERS + 1):
        name = f"{chance.choice(FIRST)} {chance.choice(LAST)}"
        joined = since + timedelta(minutes=431 * number, microseconds=chance.randrange(1_000_000))
        email = f"customer{number}@example.com"
        yield number, name, email, chance.choice(CITIES), chance.random() < 0.8, joined  # noqa: PLR2004


def _orders() -> Iterator[tuple[Any, ...]]:
    chance = Random(2)
    for number in range(1, ORDERS + 1):
        items = chance.randint(1, 9)
        amount = Decimal(chance.randint(100, 250_000)) / 100
        note = chance.choice((None, "", 'says "hello",\nthen leaves', "tab\there", "naïve — €"))
        details = f'{{"items": {items}, "gift": {"true" if items == 1 else "false"}}}'
        day = date(2024, 1, 1) + timedelta(days=number // 14)
        yield number, chance.randint(1, CUSTOMERS), day, amount, chance.choice(STATES), note, details
