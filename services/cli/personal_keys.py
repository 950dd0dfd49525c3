"""`daybook personal-keys …`: the keys of personal data, apart from everything that they open."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from services.cli.operating import finished, settings_of
from shared.domain import ids
from shared.faults import Fatal, is_broken

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

    from services.cli.stores import Stores
    from shared.personal.keys import Held
    from shared.settings import Settings

STATEMENT_TIMEOUT_S = 3600
_data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Of a running `up` (DAYBOOK_DATA_DIR)."
)
_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group("personal-keys")
def personal_keys() -> None:
    """The keys that open jobs' personal data: copies of the log and the archive hold none.

    With a cold copy and a file of these keys everything can be restored; keep the two apart, and the file secret. An
    erasure doesn't reach a file: write it anew after one, and destroy the old.

    \b
    daybook personal-keys export /safe/personal.keys
    daybook personal-keys import /safe/personal.keys
    """  # noqa: D301 - click's mark


@personal_keys.command("export")
@_file
@_data_dir
def export(*, file: Path, **options: Any) -> None:
    """Write all keys to FILE, which nobody else may read; the system may be at work.

    A line a job, JSON: its id, its tenant, the key. FILE must not be there yet.

    \b
    daybook personal-keys export /safe/personal-2026-11.keys
    """  # noqa: D301 - click's mark
    told = settings_of(options, "personal-keys")

    async def write() -> int:
        from services.cli.database import archived_in  # noqa: PLC0415

        async with archived_in(told, statement_timeout_s=STATEMENT_TIMEOUT_S) as pool:
            with _made(file) as opened:
                keys = await _written(pool, opened)
        click.echo(f"{keys} keys written to {file}")
        return 0

    sys.exit(finished(write))


@personal_keys.command("import")
@_file
@_data_dir
def import_(*, file: Path, **options: Any) -> None:
    """Bring back those keys of FILE that are missing; never that of a job that was erased.

    After `daybook archive import`, which tells who was erased. The system may be at work. A key that is there stays.

    \b
    daybook archive import /srv/cold && daybook personal-keys import /safe/personal.keys
    """  # noqa: D301 - click's mark
    told = settings_of(options, "personal-keys")

    async def bring() -> int:
        from services.cli.stores import opened  # noqa: PLC0415

        async with opened(told, statement_timeout_s=STATEMENT_TIMEOUT_S) as stores:
            new, lines = await _taken_in(stores, file)
            for partition in range(stores.fixed.partitions):
                await stores.level_keys(partition)
        click.echo(f"{new} keys brought back, {lines - new} were there or are of erased jobs")
        return 0

    sys.exit(finished(bring))


async def brought_back(told: Settings, pool: asyncpg.Pool) -> str:
    """Bring back from Redis what keys Postgres has lost, if Redis is there; what came of it, in a sentence's end.

    Args:
        told: where Redis is.
        pool: of the archive's database, whose archive is whole.
    """
    from services.cli.stores import redis_of  # noqa: PLC0415
    from shared.eventlog.connection import connect  # noqa: PLC0415
    from shared.eventlog.keys import Keys  # noqa: PLC0415
    from shared.personal.levelling import to_postgres  # noqa: PLC0415
    from shared.readmodel.archive import find_deployment  # noqa: PLC0415

    url, fixed = redis_of(told), await find_deployment(pool)
    if url is None or fixed is None:
        return "Redis isn't known: what keys of personal data it has, `daybook recover` brings back"
    redis, new = connect(url), 0
    try:
        async with pool.acquire() as connection:
            for partition in range(fixed.partitions):
                new += await to_postgres(connection, redis, Keys(fixed.prefix, partition))
    except Exception as error:
        if not is_broken(error):
            raise
        return "Redis doesn't answer: what keys of personal data it has, `daybook recover` brings back"
    finally:
        await redis.aclose()
    return f"{new} keys of personal data brought back from Redis"


@contextlib.contextmanager
def _made(file: Path) -> Iterator[TextIO]:
    """A new file that nobody else may read; gone if it isn't written to its end."""
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            try:
                yield opened
            except BaseException:
                file.unlink()
                raise
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        if error.filename is None:  # a store's
            raise
        raise Fatal(f"{error.filename}: {error.strerror}.") from error


async def _written(pool: asyncpg.Pool, file: TextIO) -> int:
    from shared.personal.keys import statement  # noqa: PLC0415

    keys = 0
    async with pool.acquire() as connection, connection.transaction():
        async for row in connection.cursor(statement("all"), prefetch=1_000):
            key = base64.b64encode(row["key"]).decode()
            file.write(json.dumps({"job": row["job"], "tenant": row["tenant"], "key": key}) + "\n")
            keys += 1
    return keys


async def _taken_in(stores: Stores, file: Path) -> tuple[int, int]:
    """How many keys were missing, and how many there are in the file."""
    from shared.personal.levelling import PAGE, take_in  # noqa: PLC0415

    copies = _read(file, stores.fixed.partitions)
    new, jobs = 0, list(copies)
    async with stores.pool.acquire() as connection, connection.transaction():
        for first in range(0, len(jobs), PAGE):
            new += await take_in(connection, {job: copies[job] for job in jobs[first : first + PAGE]})
    return new, len(copies)


def _read(file: Path, partitions: int) -> dict[str, Held]:
    """The keys of a file.

    Raises:
        Fatal: it can't be read, or a line of it is none; then nothing was done.
    """
    try:
        with file.open() as lines:
            return dict(_key(file, number, line, partitions) for number, line in enumerate(lines, start=1))
    except OSError as error:
        raise Fatal(f"{file}: {error.strerror}.") from error


def _key(file: Path, number: int, line: str, partitions: int) -> tuple[str, Held]:
    from shared.personal.keys import Held  # noqa: PLC0415
    from shared.personal.sealing import KEY_BYTES  # noqa: PLC0415

    try:
        told = json.loads(line)
        job, tenant = ids.parse(told["job"]), str(told["tenant"])
        key = base64.b64decode(told["key"], validate=True)
        is_one = len(key) == KEY_BYTES and ids.partition_of(job) < partitions
    except (ValueError, KeyError, TypeError):
        is_one = False
    if not is_one:
        raise Fatal(f"Line {number} of {file} is no key of this deployment; nothing was done.")
    return job, Held(key, tenant)
