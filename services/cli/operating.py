"""Operators' commands: `recover`, `keys` straight on the stores; `config`, `probe` about where it runs."""

from __future__ import annotations

import random
import secrets
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared import logs, settings
from shared.domain.roles import ROLES
from shared.faults import Fatal, is_broken
from shared.lifecycle import main_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from shared.domain.roles import Role
    from shared.settings import Settings


@click.command()
@click.option("--dry-run", is_flag=True, help="Compare only, and say what would be done.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Of a running `up` (DAYBOOK_DATA_DIR).")
def recover(*, dry_run: bool, **options: Any) -> None:
    """Open the logs, and heal those that have lost what the archive holds.

    Services do so by themselves; this says what it finds, a line a partition. It ends with 1 if one can't be opened,
    and says what to do about it: mostly, to bring in a cold copy first.

    \b
    daybook recover --dry-run
    daybook archive import /srv/cold && daybook recover
    """  # noqa: D301 - click's mark
    from services.cli.recover import recover as recovered  # noqa: PLC0415

    told = settings_of(options, "recover")

    async def go_through() -> int:
        good = await recovered(told, dry_run=dry_run, chance=bits_for_ids(), say=click.echo)
        return 0 if good else 1

    sys.exit(finished(go_through))


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Of a running `up` (DAYBOOK_DATA_DIR).")
def replan(**options: Any) -> None:
    """Plan all jobs by the zone tables that are installed here.

    Timers do so by themselves when they come with newer ones; this does it at once. It ends with 1 if a partition is
    planned by newer ones already.
    """
    from services.cli.replan import replan as replanned  # noqa: PLC0415

    told = settings_of(options, "replan")

    async def go_through() -> int:
        return 0 if await replanned(told, chance=bits_for_ids(), say=click.echo) else 1

    sys.exit(finished(go_through))


@click.group()
def keys() -> None:
    """API keys, by hand: straight on the stores, so that the first admin's can be made."""


@keys.command("create")
@click.option("--name", required=True, help="What it is for.")
@click.option("--role", type=click.Choice(ROLES), required=True)
@click.option("--owner", help="Whoever it acts for; the name, if left out.")
@click.option("--tenant", default="default", show_default=True)
@click.option("--expires-in", "days", type=click.IntRange(1, 36_500), help="Days; never, if left out.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Of a running `up` (DAYBOOK_DATA_DIR).")
def create_key(
    *, name: str, role: Role, owner: str | None, tenant: str, days: int | None, **options: Any
) -> None:
    """Make a key, and print it: this is the only time it is shown."""
    from services.cli import keys as commands  # noqa: PLC0415

    told = settings_of(options, "keys")
    wanted = commands.Wanted(name=name, role=role, owner=owner or name, tenant=tenant, days=days)
    sys.exit(finished(lambda: commands.create(told, wanted, chance=bits_for_ids(), say=click.echo)))


@keys.command("list")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Of a running `up` (DAYBOOK_DATA_DIR).")
def list_keys(**options: Any) -> None:
    """Show all keys, those that were revoked too."""
    from services.cli import keys as commands  # noqa: PLC0415

    told = settings_of(options, "keys")
    sys.exit(finished(lambda: commands.show(told, say=click.echo)))


@keys.command("revoke")
@click.argument("key")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Of a running `up` (DAYBOOK_DATA_DIR).")
def revoke_key(*, key: str, **options: Any) -> None:
    """Revoke KEY, an id or a prefix: it opens nothing from the next request on."""
    from services.cli import keys as commands  # noqa: PLC0415

    told = settings_of(options, "keys")
    sys.exit(finished(lambda: commands.revoke(told, key, chance=bits_for_ids(), say=click.echo)))


@click.command()
def config() -> None:
    """Show every setting: its value, where that came from, and what it means."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("Setting", "Value", "From", "Meaning")
    for row in settings.describe(settings_of({}, "config")):
        table.add_row(row.name, row.value, row.source, row.meaning)
    Console().print(table)


@click.command()
def probe() -> None:
    """Ask the service that runs here whether it is well: a line, and a status of 0 or 1."""
    from services.cli import probe as asking  # noqa: PLC0415

    sys.exit(asking.probe(say=click.echo))


# What commands on the stores have in common.


def bits_for_ids() -> Callable[[], int]:
    """Draws of 80 bits: nobody else's, which is all that ids need; they are no secrets."""
    return partial(random.Random(secrets.randbits(256)).getrandbits, 80)


def settings_of(options: dict[str, Any], service: str) -> Settings:
    """The settings, with what the command line said; a wrong one ends the start with its sentence."""
    try:
        told = settings.load(**{name: value for name, value in options.items() if value is not None})
    except settings.BadSettings as error:
        raise click.ClickException(str(error)) from error
    logs.configure(told.log_level, told.log_format, service)
    return told


def finished(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a command that ends by itself, and return its status.

    Raises:
        click.ClickException: something must be changed first, or a store doesn't answer; ends with 1 and its sentence.
    """
    try:
        return main_loop(command)
    except Exception as error:
        if isinstance(error, Fatal) or is_broken(error):
            raise click.ClickException(str(error)) from error
        raise
