"""Files into a payload: directories and regular files with their modes and times, symbolic links as links.

Everything is opened from descriptors down and no link is followed, so a directory that somebody swaps for one meanwhile
leads nowhere. Owners are noted. What is neither file, directory nor link (a socket, a device, a pipe) is left out,
and counted. A hard link is a file for each of its names.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.backup.payload import Payload

FOLDER = "files/"  # members' names begin with it
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SWAPPED = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR})  # it was something else a moment ago


class FileChanged(OSError):  # noqa: N818 - its name is what people read as the failure's class
    """A file became shorter while it was read: another attempt may find it at rest."""


@dataclass(slots=True)
class Counted:
    """What was packed.

    Attributes:
        bytes: of regular files.
        skipped: what is neither file, directory nor link, and what was gone when its turn came.
    """

    files: int = 0
    directories: int = 0
    links: int = 0
    bytes: int = 0
    skipped: int = 0

    def document(self) -> dict[str, int]:
        """As JSON."""
        return asdict(self)


def measured(descriptor: int) -> int:
    """Bytes of the file, or of all regular files below the directory, as of now: for a progress bar."""
    facts = os.fstat(descriptor)
    if not stat.S_ISDIR(facts.st_mode):
        return facts.st_size
    total = 0
    for _, _, names, directory in os.fwalk(".", dir_fd=descriptor, follow_symlinks=False):
        for name in names:
            try:
                each = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except OSError:
                continue
            total += each.st_size if stat.S_ISREG(each.st_mode) else 0
    return total


def pack(
    payload: Payload, roots: Sequence[tuple[str, int]], told: Callable[[int], None] = lambda _: None
) -> Counted:
    """Add files, and directories with all that is in them.

    Args:
        payload: where to.
        roots: absolute path and open descriptor of each; no path lies in another.
        told: hears how many bytes were read, again and again.

    Raises:
        FileChanged: see there.
        OSError: something can't be read: a backup without it would be none.
    """
    packing = _Packing(payload, told)
    for path, descriptor in roots:
        packing.take(FOLDER + path.strip("/"), descriptor)
    return packing.counted


class _Packing:
    def __init__(self, payload: Payload, told: Callable[[int], None]) -> None:
        self.counted = Counted()
        self._payload = payload
        self._told = told

    def take(self, name: str, descriptor: int) -> None:
        facts = os.fstat(descriptor)
        if stat.S_ISDIR(facts.st_mode):
            self._directory(name, descriptor, facts)
        else:
            self._file(name, descriptor, facts)

    def _directory(self, name: str, descriptor: int, facts: os.stat_result) -> None:
        self._payload.add_file(_info(name, facts, tarfile.DIRTYPE))
        self.counted.directories += 1
        for entry in sorted(os.listdir(descriptor)):
            try:
                self._entry(f"{name}/{entry}", entry, descriptor)
            except OSError as error:
                if error.errno not in _SWAPPED:
                    raise
                self.counted.skipped += 1

    def _entry(self, name: str, entry: str, directory: int) -> None:
        facts = os.stat(entry, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(facts.st_mode):
            info = _info(name, facts, tarfile.SYMTYPE)
            info.linkname = os.readlink(entry, dir_fd=directory)
            self._payload.add_file(info)
            self.counted.links += 1
        elif stat.S_ISDIR(facts.st_mode) or stat.S_ISREG(facts.st_mode):
            flags = _DIRECTORY if stat.S_ISDIR(facts.st_mode) else _FILE
            descriptor = os.open(entry, flags, dir_fd=directory)
            try:
                self.take(name, descriptor)
            finally:
                os.close(descriptor)
        else:
            self.counted.skipped += 1

    def _file(self, name: str, descriptor: int, facts: os.stat_result) -> None:
        if not stat.S_ISREG(facts.st_mode):
            self.counted.skipped += 1
            return
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            self._payload.add_file(_info(name, facts, tarfile.REGTYPE), _Told(file, name, self._told))
        self.counted.files += 1
        self.counted.bytes += facts.st_size


class _Told:
    """A file whose reading is told of, and which may not end before it is read."""

    def __init__(self, file: BinaryIO, name: str, told: Callable[[int], None]) -> None:
        self._file = file
        self._name = name
        self._told = told

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise FileChanged(f"{self._name.removeprefix('files')} became shorter while it was read")
        self._told(len(data))
        return data


def _info(name: str, facts: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = stat.S_IMODE(facts.st_mode)
    info.uid, info.gid = facts.st_uid, facts.st_gid
    info.size = facts.st_size if kind == tarfile.REGTYPE else 0
    seconds, nanos = divmod(facts.st_mtime_ns, 1_000_000_000)
    info.pax_headers = {"mtime": f"{seconds}.{nanos:09}"}  # a float would lose the last digits
    return info
