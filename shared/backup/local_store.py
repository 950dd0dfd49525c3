"""A directory of backups. Names are resolved from a descriptor on, and no symbolic link below the root is followed.

A draft is a file `.NAME.<16 hex digits>.partial` beside its place, locked as long as its writer lives: so what a killed
one has left can be told, and deleted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from typing import TYPE_CHECKING, BinaryIO

from shared.backup.names import parsed_partial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from shared.backup.names import Name

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class ThroughALink(PermissionError):  # noqa: N818 - its name is what people read as the failure's class
    """A part of a path is a symbolic link (or no directory); links are not followed."""


class LocalStore:
    """See `stores.Store`.

    Args:
        root: the operator's own directory, which may well be a link.
        path: below it, parts separated by `/`.
        make: directories that are missing are made, for the owner alone.

    Raises:
        ThroughALink: see there.
        OSError: it can't be opened.
    """

    def __init__(self, root: Path, path: str, *, make: bool) -> None:
        self._directory = descended(os.open(root, _DIRECTORY), path, make=make)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        os.close(self._directory)

    def names(self) -> list[str]:
        """Regular files that are there."""
        with os.scandir(self._directory) as entries:
            return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]

    def size(self, name: str) -> int | None:
        """Bytes of that file; None if there is none."""
        try:
            return os.stat(name, dir_fd=self._directory, follow_symlinks=False).st_size
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def read(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        """That file and its length."""
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        with os.fdopen(descriptor, "rb") as file:
            yield file, os.fstat(descriptor).st_size

    @contextlib.contextmanager
    def draft(self, name: Name) -> Iterator[_Draft]:
        """A draft of that file."""
        partial = name.partial(secrets.token_hex(8))
        with os.fdopen(os.open(partial, _NEW, 0o600, dir_fd=self._directory), "w+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield _Draft(file, self._directory, partial, str(name))
            finally:
                with contextlib.suppress(FileNotFoundError):  # it was published
                    os.unlink(partial, dir_fd=self._directory)

    def delete(self, name: str) -> None:
        """Delete that file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._directory)
            os.fsync(self._directory)

    def sweep(self, name: Name) -> list[str]:
        """Delete drafts of this job's that nobody writes any more."""
        return [each for each in self.names() if self._is_left(each, name) and self._swept(each)]

    def _is_left(self, partial: str, name: Name) -> bool:
        made = parsed_partial(partial)
        return made is not None and made.job_id == name.job_id

    def _swept(self, partial: str) -> bool:
        try:
            descriptor = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=self._directory)
            return True
        finally:
            os.close(descriptor)


class _Draft:
    def __init__(self, file: BinaryIO, directory: int, partial: str, name: str) -> None:
        self._file = file
        self._directory = directory
        self._partial = partial
        self._name = name

    def write(self, data: bytes, /) -> object:
        return self._file.write(data)

    @contextlib.contextmanager
    def stored(self) -> Iterator[tuple[BinaryIO, int]]:
        self._file.flush()
        os.fsync(self._file.fileno())
        yield self._file, os.fstat(self._file.fileno()).st_size

    def publish(self) -> None:
        os.rename(self._partial, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        os.fsync(self._directory)


def descended(directory: int, path: str, *, make: bool) -> int:
    """The descriptor of the directory at `path` below `directory`, which is closed.

    Raises:
        ThroughALink: a part of `path` is a symbolic link, or no directory.
        OSError: it can't be opened, or made.
    """
    for part in filter(None, path.split("/")):
        try:
            directory = _entered(directory, part, make=make)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise ThroughALink(
                    errno.EPERM, "it is a symbolic link, or no directory; links are not followed", part
                ) from error
            raise
    return directory


def _entered(directory: int, part: str, *, make: bool) -> int:
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=directory)
                os.fsync(directory)
        return os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    finally:
        os.close(directory)
