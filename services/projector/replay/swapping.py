"""The swap: in one transaction the ledgers made anew take the place of the live ones.

```
 checkpoints locked, in order        ─▶ no projector is in a transaction, or gets beyond its first statement
 tables locked, asked for a moment   ─▶ nobody reads them, or holds the archive still
 the last events taken               ─▶ level
 schemas renamed, `ledgers` counted  ─▶ a statement that has found the old tables by their names moves no checkpoint
```
A projector locks its checkpoint first and rows of ledgers after it, and so does the swap: neither waits for the other
in a circle. Statements that others have prepared are planned anew, as the names now mean other tables.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import asyncpg

from services.projector.replay.build import Unreplayable
from services.projector.replay.names import LIVE, OLD, statement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.projector.replay.blueprint import Blueprint

CHECKPOINTS_S = 2.0  # a large batch of a projector takes as long
TABLES_S = 0.1  # whoever comes meanwhile waits as long; shorter than what the projector's groups wait
VACUUM_S = 5.0  # of several tables each waits for a deadlock_timeout, which is a second
_REFUSED = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)


async def swap(
    connection: asyncpg.pool.PoolConnectionProxy, plan: Blueprint, take_rest: Callable[[], Awaitable[object]]
) -> float | None:
    """Swap, and return how many seconds others had to wait; None if the locks were not to be had.

    Nothing was changed then.

    Args:
        connection: on which `take_rest` writes, too.
        plan: how `ledger` is made.
        take_rest: writes what the archive has and the new ledgers don't.

    Raises:
        Unreplayable: the live schema isn't the one that the new one was made like.
    """
    try:
        async with connection.transaction():
            await connection.execute("set local synchronous_commit = on")
            began_at = time.monotonic()
            await _lock(connection)
            if not await connection.fetchval(statement("is_as_it_was")):
                raise Unreplayable("The schema was migrated meanwhile, or a partition opened: start again.")
            await take_rest()
            await connection.execute(statement("swap"))
            for each in plan.functions:  # they write to `ledger`, which these tables are now
                await connection.execute(each)
    except _REFUSED:
        return None
    return time.monotonic() - began_at


async def call_off_vacuum(connection: asyncpg.pool.PoolConnectionProxy) -> None:
    """Have autovacuum leave the live tables.

    It gives way to whoever has waited for a deadlock_timeout, ten times as long as all may be made to wait: this lock
    keeps out neither readers nor writers.
    """
    with contextlib.suppress(*_REFUSED):
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = {int(VACUUM_S * 1000)}")
            await connection.execute(f"lock table {await _tables(connection)} in share update exclusive mode")


async def _tables(connection: asyncpg.pool.PoolConnectionProxy) -> str:
    rows = await connection.fetch(statement("tables"), LIVE)
    return ", ".join(["book.events", *(f"{LIVE}.{row['name']}" for row in rows)])


async def _lock(connection: asyncpg.pool.PoolConnectionProxy) -> None:
    await connection.execute(f"set local lock_timeout = {int(CHECKPOINTS_S * 1000)}")
    await connection.fetch("select from book.checkpoints order by partition for update")
    await connection.execute(f"set local lock_timeout = {int(TABLES_S * 1000)}")
    await connection.execute(f"lock table {await _tables(connection)} in access exclusive mode")
    await connection.execute("set local lock_timeout = 0")


async def has_old(connection: asyncpg.pool.PoolConnectionProxy) -> bool:
    """Whether ledgers that were live before still stand."""
    return await connection.fetchval("select to_regnamespace($1)", OLD) is not None


async def drop_old(connection: asyncpg.pool.PoolConnectionProxy) -> bool:
    """Drop the ledgers that were live before, if there are any; whether there are none any more."""
    try:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = {int(CHECKPOINTS_S * 1000)}")
            await connection.execute(f"drop schema if exists {OLD} cascade")
    except _REFUSED:
        return False
    return True
