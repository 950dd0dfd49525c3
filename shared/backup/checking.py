"""Reads a backup to its end, and says what is in it: what was written can be read back, and is what was meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.backup.container import Reader
from shared.backup.payload import Contents, Member
from shared.backup.sealing import Damaged
from shared.readmodel.cold import segments
from shared.readmodel.cold.manifest import BadSegment, Manifest
from shared.readmodel.cold.segments import Chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shared.backup.container import Stored
    from shared.compression import Compression
    from shared.readmodel.cold.manifest import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A whole backup.

    Attributes:
        about: what it says of itself: backup_type, job_id, run_id and so on.
        manifest: what is in it.
        payload_bytes: before it was compressed.
        stored_bytes: of the object.
        sha256: of the object, hex.
    """

    about: dict[str, Any]
    manifest: dict[str, Any]
    payload_bytes: int
    stored_bytes: int
    sha256: str
    encrypted: bool
    compression: Compression


def check(
    stored: Stored, size: int, secret: bytes | None, told: Callable[[float], object] = lambda _: None
) -> Checked:
    """Read all of it.

    Args:
        stored: the object.
        size: its length in bytes.
        secret: what it was encrypted with, if it was.
        told: hears how much was read, as a ratio, again and again.

    Raises:
        BadBackup: it is damaged, or none, or the key is wrong.
    """
    reader = Reader(stored, size, secret=secret)
    contents = Contents(reader)
    looked = _told(contents, reader, told)
    if contents.about.get("backup_type") == "log":
        read_log(looked, contents)
    else:
        for _ in looked:
            pass
    return Checked(
        about=contents.about,
        manifest=contents.manifest,
        payload_bytes=reader.payload_bytes,
        stored_bytes=size,
        sha256=reader.sha256,
        encrypted=reader.header.encrypted,
        compression=reader.header.compression,
    )


def read_log(
    members: Iterable[Member],
    contents: Contents,
    begin: Callable[[str], Callable[..., object]] = lambda _: lambda *_: None,
) -> Manifest:
    """Read the members of a backup of the log, and hold them against the manifest.

    Args:
        members: of `contents`.
        contents: has the manifest, once they are read.
        begin: called with each segment's name; gives what takes its lines (see `segments.read`).

    Raises:
        Damaged: they are not what was written.
    """
    compression = contents.about.get("segments")
    if compression not in {"none", "zstd", "gzip"}:
        raise Damaged("The backup doesn't say how its segments are compressed.")
    chains: dict[str, Chain] = {}
    found: list[Segment] = []
    try:
        for member in members:
            name = member.info.name
            chain = chains.setdefault(name.rpartition("/")[0], Chain())
            found.append(segments.read(name, member.file, chain, compression, begin(name)))
        manifest = Manifest.parse(contents.manifest)
        found = _proven(found, chains, manifest)
    except BadSegment as error:
        raise Damaged(f"{error}.") from error
    if manifest.segments != tuple(found) or manifest.compression != compression:
        raise Damaged("The manifest speaks of other segments.")
    return manifest


def _proven(found: list[Segment], chains: dict[str, Chain], manifest: Manifest) -> list[Segment]:
    """The segments, where the manifest, which comes last, says which link was before a partition's first one.

    Raises:
        BadSegment: that is no link.
    """
    told = {segment.name: segment.before for segment in manifest.segments}
    try:
        return [
            segments.proven(each, chains[each.name.rpartition("/")[0]], told.get(each.name, ""))
            for each in found
        ]
    except ValueError as error:
        raise BadSegment(f"the manifest has a link that is none: {error}") from None


def _told(contents: Contents, reader: Reader, told: Callable[[float], object]) -> Iterable[Member]:
    """The members, each told of when it was read."""
    seen = 0
    for member in contents:
        yield member
        seen += member.info.size
        told(min(1.0, seen / max(1, reader.payload_bytes)))
