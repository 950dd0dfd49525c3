"""Files of jobs: opened below the files roots, and nowhere else, however names are changed meanwhile.

Names are resolved one part at a time, from the descriptor of a root down, and no symbolic link is followed. A directory
that somebody swaps for a link while we work leads nowhere.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import IO, TYPE_CHECKING

from shared.job_types.job_type import inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not keep us waiting
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class OutsideFilesRoots(PermissionError):  # noqa: N818 - its name is what people read as the failure's class
    """The path is in none of this executor's DAYBOOK_FILES_ROOTS, is reached through a symbolic link, or is no file."""


def open_directory(path: Path, roots: tuple[Path, ...]) -> int:
    """A descriptor of the directory, the caller's to close.

    Raises:
        OutsideFilesRoots: it lies in no root, or a part of it below the root is a symbolic link.
        OSError: it isn't there or can't be read.
    """
    return _walked(path, roots, make=False)


def open_file(path: Path, roots: tuple[Path, ...]) -> int:
    """A descriptor of the regular file, for reading, the caller's to close.

    Raises:
        OutsideFilesRoots: likewise; or it is a device, a pipe, a directory.
        OSError: it isn't there or can't be read.
    """
    directory = open_directory(_parent(path, roots), roots)
    try:
        descriptor = _opened(path, path.name, _FILE, directory)
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OutsideFilesRoots(f"{path} is not a regular file")
    return descriptor


@contextlib.contextmanager
def create_file(path: Path, roots: tuple[Path, ...]) -> Iterator[IO[bytes]]:
    """A new file beside `path`, open for writing and reading, which takes its name when the block ends well.

    Directories that are missing on the way are made. What was there before stays until then, whole; after a failure
    nothing new is left.

    Raises:
        OutsideFilesRoots: as `open_directory`.
        OSError: it can't be made, written or named.
    """
    directory = _walked(_parent(path, roots), roots, make=True)
    part = f".{path.name[:100]}.{secrets.token_hex(8)}.part"
    try:
        descriptor = os.open(part, _NEW, 0o666, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.rename(part, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=directory)
            raise
        os.fsync(directory)
    finally:
        os.close(directory)


def _parent(path: Path, roots: tuple[Path, ...]) -> Path:
    if path in roots:
        raise OutsideFilesRoots(f"{path} is a directory")
    return path.parent


def _walked(path: Path, roots: tuple[Path, ...], *, make: bool) -> int:
    root = inside(path, roots)
    if root is None:
        raise OutsideFilesRoots(f"{path} lies outside DAYBOOK_FILES_ROOTS of this executor")
    descriptor = os.open(root, _DIRECTORY)  # the operator's own path may well be a link
    for part in path.relative_to(root).parts:
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=descriptor)
            inner = _opened(path, part, _DIRECTORY | os.O_NOFOLLOW, descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def _opened(path: Path, part: str, flags: int, directory: int) -> int:
    try:
        return os.open(part, flags, dir_fd=directory)
    except OSError as error:
        if _is_link(part, directory):
            raise OutsideFilesRoots(f"{part!r} in {path} is a symbolic link; it is not followed") from error
        raise


def _is_link(name: str, descriptor: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)
    except OSError:
        return False
