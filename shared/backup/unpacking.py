"""Files out of a payload, into a directory that nobody else has seen yet.

What is packed may be anybody's. A name that is absolute or has `..`, a way through a symbolic link, something that
stands twice, and a link that leads out of the directory are refused; set-user-id and set-group-id bits and owners are
not restored. Every part of a name is opened from a descriptor on, and no link is followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from shared.backup.local_store import ThroughALink, descended
from shared.backup.sealing import BadBackup, Damaged

if TYPE_CHECKING:
    import tarfile

    from shared.backup.payload import Member

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO | stat.S_ISVTX
_COPY_BYTES = 1024 * 1024
_TIME = re.compile(r"(-?\d{1,18})(?:\.(\d{1,9})\d*)?")


class Unsafe(BadBackup):
    """The backup holds something that would reach out of the directory it is restored to."""


class Unpacking:
    """Makes files of members.

    Attributes:
        count: of files, directories and links made.

    Args:
        directory: descriptor of an empty directory.
        outside_links: links that lead out of it are made, too; they are never followed here.
    """

    def __init__(self, directory: int, *, outside_links: bool = False) -> None:
        self.count = 0
        self._root = directory
        self._outside_links = outside_links
        self._directories: list[tuple[str, tarfile.TarInfo]] = []

    def take(self, name: str, member: Member) -> None:
        """Make one.

        Args:
            name: where, below the directory.
            member: what.

        Raises:
            Unsafe: see there.
            Damaged: it can't be there.
            OSError: it can't be made.
        """
        parts = _plain(name)
        try:
            parent = descended(os.dup(self._root), "/".join(parts[:-1]), make=True)
        except ThroughALink as error:
            raise Unsafe(f"{name[:200]!r} leads through a symbolic link, or a file.") from error
        try:
            self._make(name, parts, member, parent)
        except FileExistsError as error:
            raise Damaged(f"{name[:200]!r} stands twice in the backup.") from error
        finally:
            os.close(parent)
        self.count += 1

    def finish(self) -> None:
        """Give directories their modes and times, the inner ones first, as making what is in them changed these."""
        for name, info in reversed(self._directories):
            directory = descended(os.dup(self._root), name, make=False)
            try:
                os.utime(directory, ns=_times(info))
                os.fchmod(directory, info.mode & _MODE)
            finally:
                os.close(directory)

    def _make(self, name: str, parts: tuple[str, ...], member: Member, parent: int) -> None:
        info, leaf = member.info, parts[-1]
        if info.isdir():
            with contextlib.suppress(FileExistsError):  # it may have been made for what is in it
                os.mkdir(leaf, 0o700, dir_fd=parent)
            self._check_directory(name, leaf, parent)
            self._directories.append(("/".join(parts), info))
        elif info.issym():
            if not self._outside_links and leads_out(info.linkname, depth=len(parts) - 1):
                raise Unsafe(
                    f"The link {name[:200]!r} leads to {info.linkname[:200]!r}, out of the directory: "
                    "--outside-links makes such links all the same."
                )
            os.symlink(info.linkname, leaf, dir_fd=parent)
            os.utime(leaf, ns=_times(info), dir_fd=parent, follow_symlinks=False)
        else:
            _write(leaf, member, parent)

    def _check_directory(self, name: str, leaf: str, parent: int) -> None:
        try:
            os.close(os.open(leaf, _DIRECTORY, dir_fd=parent))
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise Damaged(f"{name[:200]!r} stands twice in the backup.") from error
            raise


def leads_out(target: str, *, depth: int) -> bool:
    """Whether a link, `depth` directories below the root, may lead out of it, whatever other links there are.

    `..` is safe only where it comes first, as it then begins at a true directory; after a name, that may be a link.
    """
    parts = PurePosixPath(target).parts
    up = next((count for count, part in enumerate(parts) if part != ".."), len(parts))
    return not parts or target.startswith("/") or ".." in parts[up:] or up > depth


def _plain(name: str) -> tuple[str, ...]:
    parts = tuple(name.rstrip("/").split("/"))
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise Unsafe(f"{name[:200]!r} is no name of a file below a directory.")
    return parts


def _write(leaf: str, member: Member, parent: int) -> None:
    descriptor = os.open(leaf, _NEW, 0o600, dir_fd=parent)
    with os.fdopen(descriptor, "wb") as file:
        while data := member.file.read(_COPY_BYTES):
            file.write(data)
        file.flush()
        os.utime(descriptor, ns=_times(member.info))
        os.fchmod(descriptor, member.info.mode & _MODE)


def _times(info: tarfile.TarInfo) -> tuple[int, int]:
    match = _TIME.fullmatch(info.pax_headers.get("mtime", f"{int(info.mtime)}"))
    if match is None:
        raise Damaged(f"{info.name[:200]!r} has a time that is none.")
    ns = int(match[1]) * 1_000_000_000 + int((match[2] or "0").ljust(9, "0"))
    return ns, ns
