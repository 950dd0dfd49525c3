"""A directory of one's own for what doesn't fit into memory. It goes with its owner, however that ends.

Its owner holds a lock on it, which the kernel lets go of when a process is killed; whoever makes the next one
deletes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "daybook-scratch-"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty directory in the system's temporary one (TMPDIR), readable by this user only; deleted at the end.

    Raises:
        OSError: there can be none.
    """
    _sweep(Path(tempfile.gettempdir()))
    path, lock = _made()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _made() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = _locked(path)
        if lock is not None and path.exists():  # else a sweep came between the making and the lock
            return path, lock
        if lock is not None:
            os.close(lock)


def _sweep(parent: Path) -> None:
    """Delete what was left behind by processes that were killed."""
    for path in parent.glob(f"{PREFIX}*"):
        lock = _locked(path)
        if lock is None:
            continue
        try:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the directory's lock; None if another does, or it isn't ours to open."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
