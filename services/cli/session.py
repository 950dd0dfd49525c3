"""What every command that talks to the API has: where that is, who asks, and how the answer is shown."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from services.cli.failures import UNREACHABLE, Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.cli.client import Client

OUTPUTS = ("table", "json", "yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One command at work; `output` is one of OUTPUTS."""

    client: Client
    output: str


def path_of(kind: str, identifier: str, below: str = "") -> str:
    """Where one of a kind (`jobs`, `executions`) stands below /api/v1, whatever was typed as its id."""
    return f"/{kind}/{quote(identifier, safe='')}{below}"


def talks(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of all, and a Session as its first argument."""

    @click.option(
        "-o",
        "--output",
        type=click.Choice(OUTPUTS),
        default="table",
        show_default=True,
        help="How stdout tells it.",
    )
    @click.option("--url", envvar="DAYBOOK_URL", help="Of the API (DAYBOOK_URL); else of a running `up`.")
    @click.option("--token", envvar="DAYBOOK_TOKEN", help="An API key or a token (DAYBOOK_TOKEN).")
    @click.option(
        "--data-dir",
        envvar="DAYBOOK_DATA_DIR",
        type=click.Path(path_type=Path),
        default=".daybook",
        help="Of a running `up` (DAYBOOK_DATA_DIR).",
    )
    @functools.wraps(command)
    def talking(
        *args: Any, url: str | None, token: str | None, data_dir: Path, output: str, **options: Any
    ) -> None:
        from services.cli.client import Client  # noqa: PLC0415

        client = Client(url or _running(data_dir), token)
        with client.http:
            command(Session(client=client, output=output), *args, **options)

    return talking


def _running(data_dir: Path) -> str:
    """The address of the API that runs over a data directory."""
    from shared.embedded import DataDir  # noqa: PLC0415

    running = DataDir(data_dir).read_endpoints()
    if running is None:
        raise Failed(
            f"Nothing runs over {data_dir}: say where the API is with --url or DAYBOOK_URL, or set DAYBOOK_DATA_DIR "
            "to the directory of a running `daybook up`.",
            UNREACHABLE,
        )
    return running.api
