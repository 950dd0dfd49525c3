"""`daybook replay`: the ledgers made anew from the archive, while everything is at work."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli.operating import finished, settings_of
from shared.faults import Fatal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.projector.replay import Outcome
    from services.projector.replay.service import Told
    from shared.settings import Settings

DIFFERENT = 1
LINE_EVERY_S = 5.0  # where nobody looks at a terminal


@click.command()
@click.option(
    "--dry-run", is_flag=True, help="Compare only, and drop what was built; 1 if something differs."
)
@click.option(
    "--cold",
    "copies",
    multiple=True,
    type=click.Path(resolve_path=True),  # what is no copy is told by whoever reads it
    metavar="DIR",
    help="A cold copy of what retention has dropped; several, if one alone hasn't got all.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), help="Processes that read; one a processor, if left out."
)
@click.option("--anew", is_flag=True, help="Don't go on with what a replay that was killed has built.")
@click.option("--keep-old", is_flag=True, help="Keep the former ledgers, also if none differs.")
@click.option("--drop-old", is_flag=True, help="Drop former ledgers that were kept, and nothing else.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Of a running `up` (DAYBOOK_DATA_DIR).")
def replay(
    *,
    dry_run: bool,
    copies: Sequence[str],
    workers: int | None,
    anew: bool,
    keep_old: bool,
    drop_old: bool,
    **options: Any,
) -> None:
    """Make the ledgers anew from the archive, compare them with the live ones, and put them in their place.

    The system may be at work; it waits for the swap, some tenths of a second. One that was killed goes on where it was
    when it is called again. Where months were dropped, jobs begin as they were brought forward, and what only dropped
    events tell is carried over, unless cold copies have it. Ledgers that differed are
    kept as the schema `ledger_before`.

    \b
    daybook replay --dry-run
    daybook replay
    daybook replay --cold /srv/cold
    daybook replay --drop-old
    """  # noqa: D301 - click's mark
    told = settings_of(options, "replay")

    async def go_through() -> int:
        from services.projector.replay import Replay, Unreplayable  # noqa: PLC0415

        if drop_old:
            click.echo(await _dropped(told))
            return 0
        await _ready(told)
        with _progress() as hears:
            made = Replay(_url(told), told=hears, copies=copies, workers=workers)
            try:
                outcome = await made.run(dry_run=dry_run, keep_old=keep_old, anew=anew)
            except Unreplayable as error:
                raise Fatal(str(error)) from error
        click.echo("\n".join(_told(outcome)))
        return DIFFERENT if dry_run and outcome.differ else 0

    sys.exit(finished(go_through))


def _url(told: Settings) -> str:
    from services.cli.database import address  # noqa: PLC0415

    return address(told)


async def _ready(told: Settings) -> None:
    from services.cli.database import archived_in  # noqa: PLC0415
    from shared.faults import NotYet  # noqa: PLC0415
    from shared.readmodel.database import assert_migrated  # noqa: PLC0415

    async with archived_in(told, statement_timeout_s=30) as pool, pool.acquire() as connection:
        try:
            await assert_migrated(connection)
        except NotYet as error:
            raise Fatal(str(error)) from error


async def _dropped(told: Settings) -> str:
    from services.cli.database import archived_in  # noqa: PLC0415
    from services.projector.replay import swapping  # noqa: PLC0415

    async with archived_in(told, statement_timeout_s=600) as pool, pool.acquire() as connection:
        if not await swapping.has_old(connection):
            return "there are no former ledgers"
        if not await swapping.drop_old(connection):
            raise Fatal("The former ledgers are being read: try again when that has ended.")
    return "the former ledgers are dropped"


def _told(outcome: Outcome) -> Iterator[str]:
    read = outcome.read
    yield (
        f"{read.events - read.resumed} events read in {read.seconds:.1f} s, {read.per_s:,.0f}/s"
        + (f"; {read.resumed} had been read before" if read.resumed else "")
    )
    for each in outcome.tables:
        rows = f"{each.made} rows" if each.live == each.made else f"{each.live} rows, {each.made} made anew"
        yield f"{'DIFFERS' if each.differ else 'equal  '} {each.table}: {rows}" + (
            f", {each.differ} differ" if each.differ else ""
        )
        for example in each.examples:
            yield f"        {example}"
    if outcome.swapped_s is None:
        yield "nothing was changed"
        return
    yield f"the ledgers made anew are live, swapped in {outcome.swapped_s * 1000:.0f} ms"
    if outcome.kept:
        yield "the former are the schema ledger_before, until the next replay or `daybook replay --drop-old`"
    else:
        yield "the former are dropped"


@contextlib.contextmanager
def _progress() -> Iterator[Told]:
    """A bar on a terminal, a line now and then elsewhere; on stderr."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}
        began: dict[str, tuple[float, int]] = {}

        def hears(stage: str, done: int, whole: int) -> None:
            if stage not in tasks:
                tasks[stage], began[stage] = (
                    bar.add_task(stage, total=whole or None, rate=""),
                    (time.monotonic(), done),
                )
            bar.update(tasks[stage], completed=done, total=whole or None, rate=_rate(*began[stage], done))

        yield hears


def _rate(began_at: float, began: int, done: int) -> str:
    took_s = time.monotonic() - began_at
    return f"{(done - began) / took_s:,.0f}/s" if took_s > 0 and done > began else ""


class _Lines:
    """A line when a stage begins, and every LINE_EVERY_S: how much is done, how fast, and how long it may take."""

    def __init__(self) -> None:
        self._stage = ""
        self._began: tuple[float, int] = (0.0, 0)
        self._said_at = 0.0

    def __call__(self, stage: str, done: int, whole: int) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began, self._said_at = stage, (now, done), 0.0
        if now - self._said_at < LINE_EVERY_S:
            return
        self._said_at = now
        click.echo(f"{stage}{self._far(now, done, whole)}", err=True)

    def _far(self, now: float, done: int, whole: int) -> str:
        if not whole:
            return ""
        far = f": {done} of {whole}"
        began_at, began = self._began
        if done > began:
            rate = (done - began) / (now - began_at)
            far += f", {rate:,.0f}/s, {(whole - done) / rate:.0f} s left"
        return far
