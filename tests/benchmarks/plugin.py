"""Installing the job type `noted` for the services of a bench, and reading what its handlers noted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from . import noting

JOB_TYPE = "noted"


class Note(NamedTuple):
    """A handler's start: of which run, for what nominal time, when by the handler's own clock."""

    run_id: str
    scheduled_ms: int
    began_us: int


def install(directory: Path) -> dict[str, str]:
    """Install it under `directory`; return the environment in which services find it."""
    site, notes = directory / "site", directory / "notes"
    dist = site / "daybook_bench-1.0.dist-info"
    dist.mkdir(parents=True)
    notes.mkdir()
    shutil.copy(Path(noting.__file__), site / "daybook_bench_noting.py")
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: daybook-bench\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text(f"[daybook.handlers]\n{JOB_TYPE} = daybook_bench_noting:noted\n")
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, noting.DIRECTORY: str(notes)}


def read(directory: Path) -> list[Note]:
    """All notes below `directory`; complete once the executors have ended."""
    return [
        Note(str(UUID(bytes=run_id)), scheduled_ms, began_us)
        for path in sorted((directory / "notes").glob("*.notes"))
        for run_id, scheduled_ms, began_us in noting.NOTE.iter_unpack(path.read_bytes())
    ]
