"""A cold copy as files: the segments under `events/`, and `manifest.json`, which bears its own SHA-256.

Each file becomes visible whole, and the manifest names a segment once it is there: what a killed export has left is a
copy of less, which the next export goes on with.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from typing import TYPE_CHECKING

import msgspec

from shared.readmodel.cold.exporting import After
from shared.readmodel.cold.manifest import BadSegment, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO, Self

    from shared.readmodel.cold.manifest import Segment

MANIFEST = "manifest.json"
_NAME = re.compile(r"events/p\d{4,}/\d{20}-\d{20}\.jsonl(\.zst|\.gz)?")


class Directory:
    """A directory that holds a cold copy, or will.

    Args:
        path: of it.
        manifest: what it holds.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def read(cls, path: Path) -> Self:
        """The copy in `path`, as far as its manifest tells.

        Raises:
            BadSegment: there is none, or its manifest isn't what was written.
        """
        try:
            data = (path / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise BadSegment(f"{path} is no cold copy: it has no {MANIFEST}") from None
        try:
            manifest = Manifest.parse(msgspec.json.decode(data))
        except msgspec.DecodeError as error:
            raise BadSegment(f"{MANIFEST} is no JSON: {error}") from None
        except BadSegment as error:
            raise BadSegment(f"{MANIFEST}: {error}") from None
        if data != _written(manifest):
            raise BadSegment(f"{MANIFEST} is not what was written: it has another SHA-256 than it says")
        for segment in manifest.segments:
            if not _NAME.fullmatch(segment.name):
                raise BadSegment(f"{MANIFEST} names {segment.name[:200]!r}, which is no segment")
        return cls(path, manifest)

    @classmethod
    def made(cls, path: Path, fresh: Manifest) -> Self:
        """The copy in `path`, to be added to; one of nothing, where there is none yet.

        Args:
            path: a directory, whose parent is there.
            fresh: a manifest without segments, of the deployment that is copied.

        Raises:
            BadSegment: there is a copy of another deployment, or one that isn't whole, or something else.
        """
        path.mkdir(mode=0o700, exist_ok=True)
        if not (path / MANIFEST).exists():
            if others := sorted(each.name for each in path.iterdir() if each.name != "events"):
                raise BadSegment(f"{path} holds {others[0]!r}, and no cold copy: name an empty directory")
            made = cls(path, fresh)
            made._write_manifest()
            return made
        there = cls.read(path)
        if (there.manifest.prefix, there.manifest.partitions) != (fresh.prefix, fresh.partitions):
            raise BadSegment(f"{path} is a copy of another deployment, {there.manifest.prefix}")
        return there

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While the block runs nobody else adds to the copy.

        Raises:
            BadSegment: somebody does.
        """
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise BadSegment(f"{self.path} is being written by another export") from None
        finally:
            os.close(descriptor)

    def after(self) -> dict[int, After]:
        """Partition → the last event that the copy has of it."""
        return {
            each.partition: After(each.last[1], bytes.fromhex(each.chain)) for each in self.manifest.segments
        }

    def keep(self, segment: Segment, data: bytes) -> None:
        """Add a segment."""
        _put(self.path / segment.name, data)
        segments = sorted(
            (*self.manifest.segments, segment), key=lambda each: (each.partition, each.first[1])
        )
        self.manifest = msgspec.structs.replace(self.manifest, segments=tuple(segments))
        self._write_manifest()

    def open(self, segment: Segment) -> BinaryIO:
        """The file of a segment.

        Raises:
            BadSegment: it isn't there.
        """
        try:
            return (self.path / segment.name).open("rb")
        except FileNotFoundError:
            raise BadSegment(f"{segment.name} is missing") from None

    def _write_manifest(self) -> None:
        _put(self.path / MANIFEST, _written(self.manifest))


def _written(manifest: Manifest) -> bytes:
    """The manifest as a file, with its SHA-256: over the same JSON without that, in one line."""
    digest = hashlib.sha256(msgspec.json.encode(manifest)).hexdigest()
    return msgspec.json.format(msgspec.json.encode(manifest.document() | {"sha256": digest})) + b"\n"


def _put(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, after a crash, too."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
