"""`daybook migrate`: the database's schema brought up to this version."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import click

from services.cli.operating import finished, settings_of
from shared import logs
from shared.faults import Stopped


@click.command()
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=0,
    help="Seconds, for a database that is not up yet.",
)
def migrate(*, wait_s: float) -> None:
    """Bring the database's schema up to this version, and end."""
    told = settings_of({}, "migrate")
    if told.database_url is None:
        raise click.ClickException("DAYBOOK_DATABASE_URL is not set.")
    sys.exit(finished(partial(_migrated, told.database_url, wait_s)))


async def _migrated(url: str, wait_s: float) -> int:
    for name in await (_in_time(url, wait_s) if wait_s else _at_once(url)):
        logs.get("daybook.migrate").info("applied", migration=name)
    return 0


async def _in_time(url: str, wait_s: float) -> list[str]:
    from shared.loop import Stop, insist  # noqa: PLC0415

    stop = Stop()
    asyncio.get_running_loop().call_later(wait_s, stop.set, "it took too long")
    try:
        return await insist(partial(_at_once, url), stop=stop, name="postgres")
    except Stopped:
        return await _at_once(url)  # or the error that says why it can't be


async def _at_once(url: str) -> list[str]:
    from shared.readmodel import database  # noqa: PLC0415

    return await database.migrate(url)
