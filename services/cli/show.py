"""What stdout gets: a table for people, or JSON or YAML for programs; what is said beside it goes to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_STYLES = {
    "succeeded": "green",
    "completed": "green",
    "running": "cyan",
    "failed": "red",
    "expired": "red",
    "retrying": "yellow",
    "paused": "yellow",
    "cancelled": "yellow",
}


class Column(NamedTuple):
    """A column of a table: its head, and the text of a row's cell."""

    head: str
    cell: Callable[[Mapping[str, Any]], Any]


def listed(items: Iterable[dict[str, Any]], output: str, columns: Iterable[Column]) -> None:
    """Print a list."""
    if output != "table":
        document(list(items), output)
        return
    from rich.table import Table  # noqa: PLC0415

    columns = list(columns)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.head, no_wrap=True)
    for item in items:
        table.add_row(*(_cell(column.cell(item)) for column in columns))
    _print(table)


def single(item: dict[str, Any], output: str) -> None:
    """Print one thing: a line a field."""
    if output != "table":
        document(item, output)
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in item.items():
        table.add_row(name, _cell(value))
    _print(table)


def document(value: Any, output: str) -> None:
    """Print a value as JSON or YAML."""
    if output == "yaml":
        from services.cli.yaml_text import dump  # noqa: PLC0415

        click.echo(dump(value), nl=False)
    else:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say(text: str, *, colour: str | None = None) -> None:
    """Tell people something beside the answer."""
    click.echo(styled(printable(text), colour, err=True), err=True)


def styled(text: str, colour: str | None, *, err: bool = False) -> str:
    """In colour where the stream is a terminal, and NO_COLOR isn't set."""
    from shared.environment import lookup  # noqa: PLC0415

    stream = sys.stderr if err else sys.stdout
    plain = colour is None or lookup("NO_COLOR") is not None or not stream.isatty()
    return text if plain else click.style(text, fg=colour)


def printable(text: str) -> str:
    """With control characters told, not obeyed: a job's name is anybody's text."""
    return "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)


def _cell(value: Any) -> Any:
    from rich.text import Text  # noqa: PLC0415

    match value:
        case None:
            text = "-"
        case str():
            text = value
        case bool() | dict() | list():
            text = json.dumps(value, ensure_ascii=False)
        case _:
            text = str(value)
    return Text(printable(text), style=_STYLES.get(text, ""))


def _print(table: Any) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # whoever reads a pipe wants all of it
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip(), color=True)
