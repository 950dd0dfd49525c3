"""One execution followed to its end: what it says of itself on stderr, what its attempts have logged on stdout."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from services.cli.failures import NO
from services.cli.session import path_of
from services.cli.show import document, printable, say

if TYPE_CHECKING:
    from services.cli.session import Session

EVERY_S = 0.5
_COLOURS = {"succeeded": "green", "failed": "red", "expired": "red", "cancelled": "yellow"}


def follow(session: Session, run_id: str) -> None:
    """Tell what changes until it ends; ends the command with NO unless it has succeeded."""
    path, told, printed = path_of("executions", run_id), "", 0
    while True:
        run = session.client.get(path).json()
        if (line := _line(run)) != told:
            told = line
            say(line, colour=_COLOURS.get(run["status"]))
        ended = sum(1 for each in run["attempts"] if each["finished_at"])
        if ended > printed:
            _output(session, path, printed, ended)
            printed = ended
        if run["finished_at"] is not None:
            break
        time.sleep(EVERY_S)
    if session.output != "table":
        document(run, session.output)
    if run["status"] != "succeeded":
        click.get_current_context().exit(NO)


def _line(run: dict[str, Any]) -> str:
    parts = [run["status"]]
    if run["attempt"]:
        parts.append(f"attempt {run['attempt']} of {run['max_attempts']}")
    if run["progress"]:
        parts.append(f"{run['progress']['ratio']:.0%} {run['progress']['message']}".strip())
    if run["error"] and run["status"] != "succeeded":
        parts.append(f"{run['error']['class']}: {run['error']['message']}")
    if run["finished_at"] and run["duration_seconds"] is not None:
        parts.append(f"after {run['duration_seconds']:g} s")
    return ", ".join(parts)


def _output(session: Session, path: str, printed: int, ended: int) -> None:
    """What the attempts after `printed` have logged."""
    for attempt in session.client.get(f"{path}/output").json()["attempts"]:
        if printed < attempt <= ended:
            found = session.client.get(f"{path}/output", attempt=attempt).json()
            write_output(found["text"], to_stderr=session.output != "table")


def write_output(text: str, *, to_stderr: bool = False) -> None:
    """What a handler has logged, as it is; on a terminal, control characters are told."""
    stream = sys.stderr if to_stderr else sys.stdout
    click.echo(printable(text) if stream.isatty() else text, nl=not text.endswith("\n"), err=to_stderr)
