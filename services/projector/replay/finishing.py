"""Finishing: what rows are written quicker without is made after them: triggers, indexes, statistics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.projector import rows
from services.projector.replay import build
from services.projector.replay.names import LIVE, NEXT, statement
from shared.readmodel import cuts

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from services.projector.replay.blueprint import Blueprint, Index

AT_ONCE = 2_000  # jobs a statement
INDEXES_AT_ONCE = 2
_FIRST = "00000000-0000-0000-0000-000000000000"
LARGE = 2_000  # bytes of what is indexed; above some 2,700 an index takes it not


async def finish(pool: asyncpg.Pool, plan: Blueprint, told: Callable[[int, int], object]) -> None:
    """Make all that is missing; what was made by a replay that was killed stays.

    Args:
        pool: of connections that may take their time.
        plan: see `blueprint`.
        told: hears how many of how many things were made.
    """
    async with pool.acquire() as connection:
        if await build.phase(connection) == build.READING:
            await _put_jobs(connection, plan)
        await _forget_runs(connection)
        await connection.execute(
            "select book.make_months('ledger_next.runs', now())"
        )  # one may have come meanwhile
    missing = [each for each in plan.indexes if not await _is_there(pool, each)]
    whole = [each for each in missing if each.is_partitioned]
    for each in whole:
        await pool.execute(each.definition)
    await _make(pool, [each for each in missing if not each.is_partitioned], told)
    async with pool.acquire() as connection:
        await _attach(connection, plan)
        for right in plan.rights:
            await connection.execute(right)
        for row in await connection.fetch(statement("tables"), NEXT):
            await connection.execute(f"analyze {NEXT}.{row['name']}")
        await build.enter(connection, build.FOLLOWING)


async def _put_jobs(connection: asyncpg.pool.PoolConnectionProxy, plan: Blueprint) -> None:
    """Put all jobs in their table at once, before the eyes of its triggers, which write their cards."""
    names = await connection.fetchval(statement("written_columns"), "ledger.jobs")
    async with connection.transaction():
        await build.make_triggers(connection, plan)
        last: str | None = _FIRST
        while last is not None:
            ids = [row[0] for row in await connection.fetch(statement("next_jobs"), last, AT_ONCE)]
            if ids:
                await _put_some(connection, statement("put_jobs").replace("{columns}", names), ids)
            last = ids[-1] if ids else None
        await build.enter(connection, build.FINISHING)


async def _put_some(connection: asyncpg.pool.PoolConnectionProxy, text: str, ids: list[str]) -> None:
    try:
        async with connection.transaction():
            await connection.execute(text, ids)
    except rows.REFUSED as error:
        if len(ids) == 1:
            await connection.execute(statement("refuse_job"), ids[0], error.sqlstate or "", str(error)[:1000])
            return
        middle = len(ids) // 2
        await _put_some(connection, text, ids[:middle])
        await _put_some(connection, text, ids[middle:])


async def _forget_runs(connection: asyncpg.pool.PoolConnectionProxy) -> None:
    """Leave out the runs that retention has deleted: of those it may have, the ones that the live ledger hasn't got."""
    for status, before in (await cuts.run_cuts(connection)).items():
        await connection.execute(statement("forget_runs"), status, before)


async def _is_there(pool: asyncpg.Pool, index: Index) -> bool:
    return await pool.fetchval("select to_regclass($1)", f'{NEXT}."{index.name}"') is not None


async def _make(pool: asyncpg.Pool, indexes: list[Index], told: Callable[[int, int], object]) -> None:
    left, made = list(reversed(indexes)), 0
    told(0, len(indexes))

    async def some() -> None:
        nonlocal made
        async with pool.acquire() as connection:
            while left:
                await _make_one(connection, left.pop())
                made += 1
                told(made, len(indexes))

    async with asyncio.TaskGroup() as group:
        for _ in range(INDEXES_AT_ONCE):
            group.create_task(some())


async def _make_one(connection: asyncpg.pool.PoolConnectionProxy, index: Index) -> None:
    async with connection.transaction():
        await connection.execute("set local maintenance_work_mem = '128MB'")
        try:
            async with connection.transaction():
                await connection.execute(index.definition)
        except rows.REFUSED:
            await _make_without(connection, index)


async def _make_without(connection: asyncpg.pool.PoolConnectionProxy, index: Index) -> None:
    """Make an index that doesn't take all rows: over those that it does, and then those that may be too large, singly.

    They are written anew: an index is made of deleted rows too, as long as somebody may still see them.
    """
    table, names = index.table, await connection.fetchval(statement("written_columns"), index.table)
    keys = await connection.fetchval(statement("indexed"), index.name, LIVE)
    large = f"octet_length(row({keys})::text) > {LARGE}"
    put_back = statement("put_back").replace("{table}", table).replace("{columns}", names)
    await connection.execute(statement("set_aside").replace("{table}", table))
    await connection.execute(f"truncate {table}")
    await connection.execute(put_back.replace("{condition}", f"not ({large})"))
    await connection.execute(index.definition)
    for (place,) in await connection.fetch(f"select ctid::text from aside where {large}"):  # noqa: S608
        try:
            async with connection.transaction():
                await connection.execute(put_back.replace("{condition}", f"ctid = '{place}'"))
        except rows.REFUSED as error:
            told = (_model(index), place, error.sqlstate or "", str(error)[:1000])
            await connection.execute(statement("refuse_aside"), *told)
    await connection.execute("drop table aside")


def _model(index: Index) -> str:
    """The table as people know it: not one of its months."""
    name = index.table.removeprefix(f"{NEXT}.")
    return "runs" if index.parent is not None else name


async def _attach(connection: asyncpg.pool.PoolConnectionProxy, plan: Blueprint) -> None:
    """Make the indexes of months parts of those of the whole tables."""
    for each in plan.indexes:
        if each.parent is not None:
            await connection.execute(
                f'alter index {NEXT}.{each.parent} attach partition {NEXT}."{each.name}"'
            )
