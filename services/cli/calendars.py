"""`daybook calendars`: over the REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from services.cli.failures import STATUSES
from services.cli.files import one_object_in
from services.cli.job_fields import Dates
from services.cli.session import path_of, talks
from services.cli.show import Column, listed, say, single
from shared.domain.weekdays import WEEKDAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.cli.client import Client
    from services.cli.session import Session

PAGE = 200


def _days(calendar: Mapping[str, Any]) -> str:
    said = [each if isinstance(each, str) else f"{each['from']}..{each['to']}" for each in calendar["dates"]]
    weekly = [f"every {day}" for day in calendar["weekdays"]]
    more = [f"and {len(said) - 3} more"] if len(said) > 3 else []  # noqa: PLR2004 - what a line has room for
    return ", ".join([*weekly, *said[:3], *more])


COLUMNS = (
    Column("NAME", lambda calendar: calendar["name"]),
    Column("DAYS", _days),
    Column("TIMEZONE", lambda calendar: calendar["timezone"] or "the job's"),
    Column("REVISION", lambda calendar: calendar["revision"]),
    Column("CHANGED", lambda calendar: calendar["updated_at"]),
    Column("BY", lambda calendar: calendar["updated_by"]),
)


@click.group(epilog=STATUSES)
def calendars() -> None:
    """Calendars: days on which the jobs that name them don't run."""


@calendars.command("list", epilog=STATUSES)
@talks
def list_calendars(session: Session) -> None:
    """Show all calendars."""
    listed(_all(session.client), session.output, COLUMNS)


@calendars.command(epilog=STATUSES)
@click.argument("name")
@talks
def get(session: Session, *, name: str) -> None:
    """Show the calendar NAME."""
    single(session.client.get(path_of("calendars", name)).json(), session.output)


@calendars.command(epilog=STATUSES)
@click.argument("name")
@click.option("-f", "--file", "name_of_file", help="The calendar in YAML or JSON; options go over it.")
@click.option("--date", "dates", multiple=True, type=Dates(), help="A date, or two: 2026-12-24..2027-01-01.")
@click.option("--weekday", "weekdays", multiple=True, type=click.Choice(WEEKDAYS), help="Every week.")
@click.option("--timezone", help="That the dates are of; each job's, if left out.")
@click.option("--description")
@talks
def put(session: Session, *, name: str, name_of_file: str | None, **options: Any) -> None:
    """Make the calendar NAME, or replace all of it."""
    given = {field: value for field, value in options.items() if value is not None and value != ()}
    body = _content(name_of_file) | {
        field: list(value) if isinstance(value, tuple) else value for field, value in given.items()
    }
    if not body:
        raise click.UsageError("Say which days: --date, --weekday, or -f FILE.")
    single(session.client.send("PUT", path_of("calendars", name), body).json(), session.output)


@calendars.command(epilog=STATUSES)
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@talks
def delete(session: Session, *, name: str, yes: bool) -> None:
    """Delete the calendar NAME, which no job may name."""
    if not yes:
        click.confirm(f"Delete the calendar {name!r}?", abort=True, err=True)
    session.client.send("DELETE", path_of("calendars", name))
    say(f"{name} is deleted.")


def _content(name_of_file: str | None) -> dict[str, Any]:
    """What a file sets; what `get -o yaml` shows beside that is passed over."""
    if name_of_file is None:
        return {}
    found = one_object_in(name_of_file)
    shown = {"name", "tenant", "revision", "created_at", "updated_at", "updated_by"}
    return {field: value for field, value in found.items() if field not in shown}


def _all(client: Client) -> Iterator[dict[str, Any]]:
    page = 1
    while True:
        answer = client.get("/calendars", page=page, per_page=PAGE).json()
        yield from answer["items"]
        if page * PAGE >= answer["total"]:
            return
        page += 1
