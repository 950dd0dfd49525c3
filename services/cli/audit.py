"""`daybook audit …`: does the book balance?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from services.cli import signing
from shared import settings
from shared.eventlog.envelope import rfc3339
from shared.faults import Fatal, is_broken, leaves
from shared.lifecycle import main_loop
from shared.logs import masked

if TYPE_CHECKING:
    from services.projector.audit import Line, Report
    from shared.settings import Settings

STATEMENT_TIMEOUT_S = 3600  # the archive is read whole
VIOLATED, UNREADABLE = 1, 2


class _CannotRead(click.ClickException):
    """There is nothing to judge: said in a sentence, with a status of its own."""

    exit_code = UNREADABLE


@click.group()
def audit() -> None:
    """Check that what is written down holds, and prove it to others.

    \b
    daybook audit verify
    daybook audit sign --key-file audit_key --to checkpoint.json
    daybook audit check checkpoint.json --public-key audit_key.pub --against database
    """  # noqa: D301 - click's mark


@audit.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.option("--partition", type=click.IntRange(min=0), help="Read this partition of the log only.")
def verify(*, as_json: bool, partition: int | None) -> None:
    """Check archive, log, snapshots, due index, work streams and ledgers against each other.

    The system may be running. Its servers are those of DAYBOOK_REDIS_URL and DAYBOOK_DATABASE_URL; without these, those
    of the `daybook up` that runs over the data directory. Nothing is changed.

    The status is 0 if all holds, 1 if something doesn't, 2 if it can't be read.

    \b
    daybook audit verify
    daybook audit verify --partition 0 --json
    """  # noqa: D301 - click's mark
    try:
        told = settings.load()
    except settings.BadSettings as error:
        raise _CannotRead(str(error)) from error
    report: list[Report] = []

    async def look() -> int:
        report.append(await _verified(told, partition))
        return VIOLATED if report[0].violations else 0

    try:
        status = main_loop(look)
    except Exception as error:
        raise _explained(error) from error
    click.echo(json.dumps(_document(report[0]), indent=2) if as_json else "\n".join(_told(report[0])))
    sys.exit(status)


for _command in (signing.key, signing.sign, signing.check):
    audit.add_command(_command)


async def _verified(told: Settings, partition: int | None) -> Report:
    from services.cli.stores import opened  # noqa: PLC0415
    from services.projector.audit import verify as verified  # noqa: PLC0415

    async with opened(told, statement_timeout_s=STATEMENT_TIMEOUT_S) as stores:
        return await verified(stores.pool, stores.redis, partition=partition)


def _explained(error: Exception) -> Exception:
    """What to raise: a sentence if nothing could be read, the error itself if it is a defect of ours."""
    from asyncpg import PostgresError  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    from services.projector.audit import Unauditable  # noqa: PLC0415

    if isinstance(error, Unauditable | Fatal):
        return _CannotRead(str(error))
    if is_broken(error) or isinstance(error, PostgresError | RedisError):
        reason = masked("; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error)))
        return _CannotRead(f"A server could not be read ({reason}). Is it running, and is its address right?")
    return error


def _told(report: Report) -> list[str]:
    partitions = ", ".join(map(str, report.partitions))
    said = "holds" if report.violations == 0 else f"{report.violations} violations"
    begins = [
        f"partition {partition} begins after {cut.epoch}-{cut.pos}, {cut.at:%Y-%m-%d}: what was before was dropped by "
        f"execution {cut.run_id}; the chain goes on from {cut.chain.hex()}"
        for partition, cut in sorted(report.begins.items())
    ]
    return [*map(_line, report.lines), *begins, f"{report.events} events of partitions {partitions}: {said}"]


def _line(line: Line) -> str:
    told = f"{'WRONG' if line.violations else 'ok   '} {line.says}: {line.checked} checked"
    if line.unchecked:
        told += f", {line.unchecked} can't be told"
    if line.violations:
        told += f", {line.violations} violations; the first: {line.first}"
    return told


def _document(report: Report) -> dict[str, object]:
    lines = [
        {
            "name": line.name,
            "says": line.says,
            "checked": line.checked,
            "unchecked": line.unchecked,
            "violations": line.violations,
            "first": line.first or None,
        }
        for line in report.lines
    ]
    return {
        "holds": report.violations == 0,
        "violations": report.violations,
        "partitions": list(report.partitions),
        "events": report.events,
        "begins": [
            {
                "partition": partition,
                "after": f"{cut.epoch}-{cut.pos}",
                "id": cut.id,
                "at": rfc3339(cut.at),
                "chain": cut.chain.hex(),
                "dropped_by": cut.run_id,
            }
            for partition, cut in sorted(report.begins.items())
        ],
        "lines": lines,
    }
