"""`daybook archive …`: cold copies of the archive, made, proved without any server, and brought back."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import click

from services.cli.operating import finished, settings_of
from shared.faults import Fatal, NotYet

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import asyncpg

    from shared.compression import Compression
    from shared.readmodel.cold.directory import Directory

STATEMENT_TIMEOUT_S = 3600  # the archive is read whole
_POSITION = re.compile(r"(\d+):(?:\d+-)?(\d+)")
_data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Of a running `up` (DAYBOOK_DATA_DIR)."
)


@click.group()
def archive() -> None:
    """Cold copies of all events: make them, prove them, bring them back.

    \b
    daybook archive export --to /srv/cold
    daybook archive verify /srv/cold
    daybook archive import /srv/cold
    """  # noqa: D301 - click's mark


@archive.command()
@click.option(
    "--to", "target", required=True, help="A directory, or file:///path; a copy in it is continued."
)
@click.option(
    "--from",
    "positions",
    multiple=True,
    metavar="PARTITION:POSITION",
    help="Begin a new copy after this event; once a partition.",
)
@click.option("--compression", type=click.Choice(["zstd", "gzip", "none"]), default="gzip", show_default=True)
@_data_dir
def export(*, target: str, positions: Sequence[str], compression: Compression, **options: Any) -> None:
    """Copy the archive, as it is now, into segments of JSON lines; the system may be at work.

    A directory that holds a copy already gets what has come since, also if the export before was killed. The status is
    1 if the archive's own chain is broken: the copy has it as it stands.

    \b
    daybook archive export --to /srv/cold
    daybook archive export --to /srv/newer --from 0:1795792000000-5120 --from 1:4811
    """  # noqa: D301 - click's mark
    told, path = settings_of(options, "archive"), _path(target)

    async def copy() -> int:
        from services.cli.database import archived_in  # noqa: PLC0415
        from shared.readmodel.cold.exporting import After  # noqa: PLC0415

        after = {partition: After(pos) for partition, pos in map(_position, positions)}
        async with archived_in(told, statement_timeout_s=STATEMENT_TIMEOUT_S) as pool:
            new, broken = await _exported(pool, path, compression, after)
        click.echo(f"{new} events copied to {path}")
        if broken:
            click.echo(f"WRONG: {broken} links of the archive don't follow from the one before", err=True)
        return 1 if broken else 0

    _do(copy)


@archive.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
def verify(*, path: str, as_json: bool) -> None:
    """Prove the copy in PATH without any server: each byte, each link of the chain, gaps, the manifest.

    What isn't as it was written is named; the status is 1 then.

    \b
    daybook archive verify /srv/cold
    """  # noqa: D301 - click's mark

    async def look() -> int:
        from shared.readmodel.cold.proving import prove  # noqa: PLC0415

        copy = _read(path)
        proof = prove(copy)
        if as_json:
            click.echo(json.dumps(_document(copy, proof.events, proof.wrong), indent=2))
        else:
            click.echo("\n".join(_told(copy, proof.events, proof.wrong)))
        return 1 if proof.wrong else 0

    _do(look)


@archive.command("import")
@click.argument("path")
@_data_dir
def import_(*, path: str, **options: Any) -> None:
    """Bring the copy in PATH into an archive that is empty, or has the beginning of it; and into its ledgers.

    Stop the services first, and have `daybook migrate` make the tables. All of the copy is proved and held against the
    archive before anything is written. An import that was killed goes on where it was when it is called again. Keys of
    personal data, which no copy holds, come back from Redis if that has them, else `daybook personal-keys import`. Then
    `daybook recover`, or the start of any service, makes the log and the work in Redis follow.

    \b
    daybook migrate && daybook archive import /srv/cold && daybook recover
    """  # noqa: D301 - click's mark
    told = settings_of(options, "archive")

    async def bring() -> int:
        from services.cli.database import archived_in  # noqa: PLC0415
        from services.cli.personal_keys import brought_back  # noqa: PLC0415
        from services.projector.importing import Refused, bring_in  # noqa: PLC0415
        from shared.readmodel.database import assert_migrated  # noqa: PLC0415

        copy = _read(path)
        async with archived_in(told, statement_timeout_s=STATEMENT_TIMEOUT_S) as pool:
            try:
                async with pool.acquire() as connection:
                    await assert_migrated(connection)
                with click.progressbar(length=1000, file=sys.stderr, label="importing") as bar:
                    new = await bring_in(pool, copy, told=lambda part: bar.update(int(part * 1000) - bar.pos))
            except (NotYet, Refused) as error:
                raise Fatal(str(error)) from error
            keys = await brought_back(told, pool)
        click.echo(f"{new} events imported, {copy.manifest.events - new} were there; {keys}")
        return 0

    _do(bring)


# What they have in common.


def _do(command: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Run a command to its end; what is wrong with a copy is said in a sentence."""

    async def done() -> int:
        from shared.readmodel.cold.manifest import BadSegment  # noqa: PLC0415

        try:
            return await command()
        except BadSegment as error:
            raise Fatal(f"{error}.") from error

    sys.exit(finished(done))


def _path(target: str) -> Path:
    parts = urlsplit(target)
    if parts.scheme not in {"", "file"} or parts.netloc:
        raise click.ClickException(
            f"{target} is no directory: for s3://, sync one; a job of type backup_task copies the log there as well."
        )
    return Path(unquote(parts.path) if parts.scheme else target).absolute()


def _position(text: str) -> tuple[int, int]:
    if (match := _POSITION.fullmatch(text)) is None:
        raise Fatal(f"{text} is no position: write PARTITION:EPOCH-NUMBER, or PARTITION:NUMBER.")
    return int(match[1]), int(match[2])


def _read(path: str) -> Directory:
    from shared.readmodel.cold.directory import Directory  # noqa: PLC0415

    return Directory.read(_path(path))


async def _exported(
    pool: asyncpg.Pool, path: Path, compression: Compression, after: dict[int, Any]
) -> tuple[int, int]:
    """How many events were copied, and how many of their links are broken."""
    from shared.readmodel.archive import find_deployment  # noqa: PLC0415
    from shared.readmodel.cold.directory import Directory  # noqa: PLC0415
    from shared.readmodel.cold.exporting import export as exported  # noqa: PLC0415
    from shared.readmodel.cold.manifest import Manifest  # noqa: PLC0415

    fixed = await find_deployment(pool)
    if fixed is None:
        raise Fatal("This database has no deployment of Daybook, and so no archive.")
    fresh = Manifest(partitions=fixed.partitions, prefix=fixed.prefix, compression=compression, segments=())
    copy = Directory.made(path, fresh)
    with copy.alone(), click.progressbar(length=1000, file=sys.stderr, label="copying") as bar:
        if after and copy.manifest.segments:
            raise Fatal(f"{path} holds a copy, which is continued after its last event: leave --from out.")
        async with pool.acquire() as connection:
            new = await exported(
                connection,
                copy.keep,
                compression=copy.manifest.compression,
                after=after | copy.after(),
                told=lambda part: bar.update(int(part * 1000) - bar.pos),
            )
    return new.events, new.broken


def _told(copy: Directory, events: int, wrong: list[str]) -> list[str]:
    said = [f"WRONG {each}" for each in wrong]
    ends = {each.partition: each for each in copy.manifest.segments}
    begins = {each.partition: each for each in reversed(copy.manifest.segments)}
    for partition, last in ends.items():
        first = begins[partition]
        told = f"partition {partition}: {first.first[0]}-{first.first[1]} to {last.last[0]}-{last.last[1]}"
        said.append(f"{told}, the last link is {last.chain}")
    held = f"{len(wrong)} findings" if wrong else "holds"
    return [
        *said,
        f"{events} events of {copy.manifest.prefix} in {len(copy.manifest.segments)} segments: {held}",
    ]


def _document(copy: Directory, events: int, wrong: list[str]) -> dict[str, Any]:
    return {
        "holds": not wrong,
        "deployment": copy.manifest.prefix,
        "partitions": copy.manifest.partitions,
        "events": events,
        "segments": len(copy.manifest.segments),
        "wrong": wrong,
    }
