"""`daybook events`: what has happened and what happens, over the REST API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from services.cli.debug import diff
from services.cli.failures import STATUSES
from services.cli.session import path_of, talks
from services.cli.show import Column, document, listed, printable, styled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.cli.session import Session

_PREFIX = "io.daybook."


def _data(event: Mapping[str, Any]) -> str:
    return json.dumps(event.get("data"), ensure_ascii=False, separators=(",", ":"))


COLUMNS = (
    Column("TIME", lambda event: event["time"]),
    Column("TYPE", lambda event: event["type"].removeprefix(_PREFIX)),
    Column("SUBJECT", lambda event: event["subject"]),
    Column("ACTOR", lambda event: event.get("actor")),
    Column("POSITION", lambda event: event.get("sequence")),
    Column("DATA", _data),
)


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    for option, name, told in (
        ("--actor", "actor", "Of this actor only."),
        ("--run", "run_id", "Of this execution only."),
        ("--job", "job_id", "Of this job and its executions only."),
        ("--type", "type", "Of this type only, such as io.daybook.run.failed."),
    ):
        command = click.option(option, name, help=told)(command)
    return command


@click.group(epilog=STATUSES)
def events() -> None:
    """Events: list them, follow them, compare them."""


events.add_command(diff)


@events.command("list", epilog=STATUSES)
@_filters
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--all", "everything", is_flag=True, help="All there are.")
@talks
def list_events(session: Session, *, limit: int, everything: bool, **filters: Any) -> None:
    """Show events, newest first."""
    items = session.client.items("/events", limit=None if everything else limit, **filters)
    listed(items, session.output, COLUMNS)


@events.command(epilog=STATUSES)
@_filters
@click.option("--after", metavar="POSITION", help="Begin after this position; now, if left out.")
@click.option("--limit", type=click.IntRange(1), help="End after so many.")
@talks
def tail(session: Session, *, after: str | None, limit: int | None, **filters: Any) -> None:
    """Follow events until Ctrl-C: with -o json a line each, with -o yaml a document each.

    A connection that breaks is made again after the last event.
    """
    from services.cli import sse  # noqa: PLC0415

    given = {name: value for name, value in filters.items() if value is not None}
    job_id = given.pop("job_id", None)
    path = "/events/stream" if job_id is None else path_of("jobs", job_id, "/events/stream")
    for number, event in enumerate(sse.follow(session.client, path, given, after=after), start=1):
        _show(json.loads(event.data), session.output)
        if number == limit:
            return


def _show(event: dict[str, Any], output: str) -> None:
    match output:
        case "json":
            click.echo(json.dumps(event, ensure_ascii=False))
        case "yaml":
            click.echo("---")
            document(event, output)
        case _:
            kind = event["type"].removeprefix(_PREFIX)
            colour = "red" if kind.endswith((".failed", ".expired")) else None
            told = f"{event['time']}  {kind:<22}  {event['subject']}  {_data(event)}"
            click.echo(styled(printable(told), colour))
