"""A data directory whose PostgreSQL is there already and migrated, for systems that tests start.

Making one takes as much of a processor as starting a service; a start that makes it is what `test_up.py` begins with.
"""

import asyncio
import atexit
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from shared.embedded import Postgres
from shared.readmodel.database import migrate


def sow(data_dir: Path) -> None:
    """Have `data_dir` as it is after a first start that nobody used; leave one that has been used."""
    if (data_dir / "postgres").exists():
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    # With its owner: PostgreSQL is another user's where tests run as root.
    subprocess.run(["cp", "-pR", _made() / "postgres", data_dir], check=True)


@cache
def _made() -> Path:
    """The directory that is copied: one for each process that asks."""
    directory = Path(tempfile.mkdtemp(prefix="daybook-seed-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    with Postgres(directory) as server, ThreadPoolExecutor(1) as aside:  # there may be a loop in this thread
        aside.submit(asyncio.run, migrate(server.endpoint.url)).result()
    return directory
