"""What a cold copy holds: its segments, where each partition ends, and whether the chain held when it was copied."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

FORMAT = 1
Compression = Literal["none", "zstd", "gzip"]


class BadSegment(ValueError):  # noqa: N818 - a finding about a copy
    """A segment, or the manifest, is not what was written; the message says which, and why."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive events of one partition.

    Attributes:
        name: of the file.
        first: epoch and pos of its first event.
        last: of its last.
        at: the least and the greatest `at` in it, ms since 1970.
        count: of events.
        before: the link before its first event, hex; "" if nobody knows, as older events are missing
            without a cut that says so.
        chain: the link of its last event, hex.
        broken: how many events' links don't follow from the one before; as they stood in the archive.
        bytes: of the file.
        sha256: of the file, hex.
    """

    name: str
    partition: int
    first: tuple[int, int]
    last: tuple[int, int]
    at: tuple[int, int]
    count: int
    before: str
    chain: str
    broken: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy says of itself.

    Attributes:
        partitions: how many the deployment has; one without events has no segment.
        prefix: the deployment's.
        segments: all, by partition and position.
    """

    format: int = FORMAT
    partitions: int
    prefix: str
    compression: Compression
    segments: tuple[Segment, ...]

    @property
    def events(self) -> int:
        """How many there are."""
        return sum(segment.count for segment in self.segments)

    @property
    def broken(self) -> int:
        """How many links of the chain were broken in the archive."""
        return sum(segment.broken for segment in self.segments)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made

    @classmethod
    def parse(cls, document: dict[str, Any]) -> Manifest:
        """The manifest in `document`, which may have more fields.

        Raises:
            BadSegment: there is none, or one of another format.
        """
        try:
            manifest = msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise BadSegment(f"this is no manifest of a cold copy: {error}") from None
        if manifest.format != FORMAT:
            raise BadSegment(f"the cold copy has format {manifest.format}; this build reads {FORMAT}")
        return manifest
