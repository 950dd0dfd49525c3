"""`temp_files` of `cleanup_task`: deletes old files, and nothing else, nowhere else.

A file is deleted by its name *in an open directory*, to which no symbolic link led (see `services.executor.files`).
Blocking: it runs in a process of the pool.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.executor.files import open_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.job_types.cleanup_task import TempFiles

DAY_S = 86_400
ERRORS_MAX = 20
ERROR_LENGTH_MAX = 300


def clean(task: TempFiles, roots: tuple[Path, ...]) -> dict[str, Any]:
    """Delete what the task names, inside `roots`; returns {"files", "bytes", "errors", "dry_run"}.

    A file that can't be deleted is listed (the first ERRORS_MAX are) and the others go on.

    Raises:
        OutsideFilesRoots: nothing was touched.
        OSError: the directory isn't there or can't be read.
    """
    descriptor = open_directory(Path(task.path), roots)
    try:
        return _Cleaning(task, older_than=time.time() - task.retention_days * DAY_S).clean(descriptor)
    finally:
        os.close(descriptor)


class _Cleaning:
    """One pass over a directory: counts what it deletes, or would."""

    def __init__(self, task: TempFiles, *, older_than: float) -> None:
        self._task = task
        self._older_than = older_than
        self._files = 0
        self._bytes = 0
        self._errors: list[str] = []

    def clean(self, descriptor: int) -> dict[str, Any]:
        for directory, names, inner in self._directories(descriptor):
            for name in names:
                try:
                    self._clean_file(name, inner)
                except FileNotFoundError:
                    pass  # somebody else was quicker
                except OSError as error:
                    self._note(os.path.join(directory, name), error)  # noqa: PTH118 - names, not paths
        return {
            "files": self._files,
            "bytes": self._bytes,
            "errors": self._errors,
            "dry_run": self._task.dry_run,
        }

    def _directories(self, descriptor: int) -> Iterator[tuple[str, list[str], int]]:
        """Each directory with the names in it that are no directories, and its descriptor."""
        walk = os.fwalk(".", dir_fd=descriptor, follow_symlinks=False, onerror=self._unreadable)
        for directory, inner, names, opened in walk:
            if not self._task.recursive:
                inner.clear()
            yield directory, names, opened

    def _clean_file(self, name: str, directory: int) -> None:
        facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(facts.st_mode) or facts.st_mtime >= self._older_than:
            return
        if not self._task.dry_run:
            os.unlink(name, dir_fd=directory)
        self._files += 1
        self._bytes += facts.st_size

    def _unreadable(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._note(str(error.filename), error)

    def _note(self, name: str, error: OSError) -> None:
        if len(self._errors) < ERRORS_MAX:
            self._errors.append(f"{name}: {error.strerror or error}"[:ERROR_LENGTH_MAX])
