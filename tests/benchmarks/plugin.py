"""Installing the job type `noted` for the services of a bench, and reading what its handlers noted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from tests.plugins.site import lay_out

from . import noting

JOB_TYPE = "noted"


class Note(NamedTuple):
    """A handler's start: of which run, for what nominal time, when by the handler's own clock."""

    run_id: str
    scheduled_ms: int
    began_us: int


def install(directory: Path) -> dict[str, str]:
    """Install it under `directory`; return the environment in which services find it."""
    notes = directory / "notes"
    notes.mkdir()
    found = lay_out(directory / "site", "daybook_bench", Path(noting.__file__), {JOB_TYPE: "noted"})
    return found | {noting.DIRECTORY: str(notes)}


def read(directory: Path) -> list[Note]:
    """All notes below `directory`; complete once the executors have ended."""
    return [
        Note(str(UUID(bytes=run_id)), scheduled_ms, began_us)
        for path in sorted((directory / "notes").glob("*.notes"))
        for run_id, scheduled_ms, began_us in noting.NOTE.iter_unpack(path.read_bytes())
    ]
