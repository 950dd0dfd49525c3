"""What a backup holds: a tar stream (POSIX.1-2001), from `daybook.json`, what it is, to `manifest.json`, what is in it.

Neither end keeps more than a part of it in memory. What is read may be anybody's: the size of a header is bounded, and
kinds of members that we don't write are refused; names are the business of whoever makes files of them.
"""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from shared.backup.sealing import BadBackup, Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.compression import Source

FORMAT = 1
FIRST, LAST = "daybook.json", "manifest.json"
PART_BYTES = 4 * 1024 * 1024
HEADER_MAX = 256 * 1024  # bytes of a member's headers: names and link targets are at most 4 KB each
DOCUMENT_MAX = 64 * 1024 * 1024
_BLOCK = tarfile.RECORDSIZE  # tarfile reads ahead by this much


class Sink(Protocol):
    """What is written to."""

    def write(self, data: bytes, /) -> int:
        """Take it."""


class Readable(Protocol):
    """What can be read."""

    def read(self, size: int = ..., /) -> bytes:
        """At most `size` bytes; none at the end only."""


class Payload:
    """Writes one.

    Attributes:
        members: how many there are so far, FIRST excepted.
        bytes: in them.

    Args:
        sink: where to.
        about: what stands in FIRST, as JSON.
    """

    def __init__(self, sink: Sink, about: dict[str, Any]) -> None:
        self._tar = tarfile.open(fileobj=cast("Any", sink), mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self.members = self.bytes = 0
        self._put(tarfile.TarInfo(FIRST), {"format": FORMAT, **about})

    def add(self, name: str, data: bytes) -> None:
        """Add a member of these bytes."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self.add_file(info, io.BytesIO(data))

    def add_file(self, info: tarfile.TarInfo, file: Readable | None = None) -> None:
        """Add a member as `info` describes it; of a regular file exactly `info.size` bytes of `file`.

        Raises:
            OSError: there are less.
        """
        self._tar.addfile(info, file)
        _forget(self._tar)
        self.members += 1
        self.bytes += info.size if info.isreg() else 0

    def parts(self, folder: str) -> Parts:
        """What takes a stream whose length isn't known, as members `folder/000001` and so on."""
        return Parts(self, folder)

    def finish(self, manifest: dict[str, Any]) -> None:
        """Add the manifest; it gets `members` and `bytes`."""
        self._put(tarfile.TarInfo(LAST), {**manifest, "members": self.members, "bytes": self.bytes})
        self._tar.close()

    def _put(self, info: tarfile.TarInfo, document: dict[str, Any]) -> None:
        data = json.dumps(document, ensure_ascii=False).encode()
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))


class Parts:
    """See `Payload.parts`."""

    def __init__(self, payload: Payload, folder: str) -> None:
        self._payload = payload
        self._folder = folder
        self._waiting = bytearray()
        self._count = 0

    def write(self, data: bytes, /) -> int:
        """Take more."""
        self._waiting += data
        while len(self._waiting) >= PART_BYTES:
            self._add(bytes(self._waiting[:PART_BYTES]))
            del self._waiting[:PART_BYTES]
        return len(data)

    def finish(self) -> None:
        """Add what is left."""
        if self._waiting:
            self._add(bytes(self._waiting))
            self._waiting.clear()

    def _add(self, data: bytes) -> None:
        self._count += 1
        self._payload.add(f"{self._folder}/{self._count:06}", data)


class Member(NamedTuple):
    """One of a payload; `file` has the bytes of a regular file, until the next member is asked for."""

    info: tarfile.TarInfo
    file: Readable


class Contents:
    """Reads one: iterate over its members once, then `manifest` is there and all has been read.

    Attributes:
        about: what stands in FIRST.
        manifest: what stands in LAST; empty before the end.

    Args:
        source: has a payload.

    Raises:
        BadBackup: it has none, or one of another format.
    """

    def __init__(self, source: Source) -> None:
        self._guard = _Guard(source)
        self._guard.allow(HEADER_MAX)
        try:
            self._tar = tarfile.open(fileobj=cast("Any", self._guard), mode="r|")  # noqa: SIM115
        except tarfile.TarError as error:
            raise Damaged(f"What the backup holds is no tar stream: {error}.") from None
        self.about = self._document(self._next(), FIRST)
        self.manifest: dict[str, Any] = {}
        if self.about.get("format") != FORMAT:
            raise BadBackup(f"The payload has format {self.about.get('format')}; this build reads {FORMAT}.")

    def __iter__(self) -> Iterator[Member]:
        """The members between FIRST and LAST.

        Raises:
            Damaged: something is there that should not be, or missing.
        """
        members = counted = 0
        while (member := self._next()) is None or member.info.name != LAST:
            if member is None:
                raise Damaged("The payload ends without its manifest.")
            yield member
            members += 1
            counted += member.info.size if member.info.isreg() else 0
            _drain(member.file)
        self.manifest = self._document(member, LAST)
        if (self.manifest.get("members"), self.manifest.get("bytes")) != (members, counted):
            raise Damaged("The manifest speaks of other contents.")
        if self._next() is not None:
            raise Damaged("Something follows the manifest.")
        self._guard.drain()

    def _next(self) -> Member | None:
        self._guard.allow(HEADER_MAX)
        try:
            info = self._tar.next()
        except (tarfile.TarError, ValueError, KeyError) as error:  # what a header says may be no number
            raise Damaged(f"What the backup holds is no whole tar stream: {error}.") from None
        _forget(self._tar)
        if info is None:
            return None
        if not (info.isreg() or info.isdir() or info.issym()) or info.sparse is not None:
            raise Damaged(f"{info.name[:200]!r} is neither a file, a directory nor a symbolic link.")
        self._guard.allow(info.size + HEADER_MAX)
        return Member(info, self._tar.extractfile(info) or io.BytesIO() if info.isreg() else io.BytesIO())

    def _document(self, member: Member | None, name: str) -> dict[str, Any]:
        if member is None or member.info.name != name or not member.info.isreg():
            raise BadBackup(f"The payload has no {name} in its place.")
        if member.info.size > DOCUMENT_MAX:
            raise BadBackup(f"{name} has {member.info.size:,} bytes, more than we write.")
        try:
            document = json.loads(member.file.read(member.info.size))
        except ValueError as error:
            raise Damaged(f"{name} is no JSON: {error}.") from None
        if not isinstance(document, dict):
            raise Damaged(f"{name} is no object.")
        return document


def _forget(tar: tarfile.TarFile) -> None:
    """Have it remember no member: there may be millions."""
    cast("Any", tar).members.clear()


def _drain(file: Readable) -> None:
    while file.read(PART_BYTES):
        pass


class _Guard:
    """A source of which only so much may be read as was allowed: tarfile reads headers of any size that they claim."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._allowed = 0

    def allow(self, size: int) -> None:
        self._allowed = size + _BLOCK

    def read(self, size: int = -1, /) -> bytes:
        if size < 0 or size > self._allowed:
            raise Damaged("The headers of a member are larger than any that we write.")
        data = self._source.read(size)
        self._allowed -= len(data)
        return data

    def drain(self) -> None:
        while self._source.read(_BLOCK):
            pass
