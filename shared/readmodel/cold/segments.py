"""One segment: written from rows of the archive, read back and checked against the chain."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import msgspec

from shared import compression as compressions
from shared.readmodel.chain import FIELDS, GENESIS, link
from shared.readmodel.cold.manifest import BadSegment, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.compression import Compression, Source

EVENTS_MAX = 20_000
BYTES_MAX = 8 * 1024 * 1024  # of lines, before they are compressed; then the next segment begins
LINE_MAX = 8 * 1024 * 1024  # an event takes 256 KB, and six times as many if each character is escaped
_READ_BYTES = 1024 * 1024

Event = tuple[Any, ...]  # the values of FIELDS


class Chain:
    """The chain of one partition, followed from segment to segment.

    Args:
        known: the link before the first event, if that isn't the partition's first and it is known.

    Attributes:
        known: the link of the last event; None before the first, if nobody has said it.
        at: epoch and pos of the last event; None before the first.
        unproven: the first event and its link, if the link before it wasn't known.
    """

    def __init__(self, known: bytes | None = None) -> None:
        self.known = known
        self.at: tuple[int, int] | None = None
        self.unproven: tuple[Event, bytes] | None = None

    def before(self, pos: int) -> bytes | None:
        """The link before the event at `pos`, if it is known."""
        return GENESIS if self.at is None and pos == 1 else self.known

    def follows(self, event: Event, chain: bytes) -> bool:
        """Go on to the next event; whether its link follows from the one before."""
        previous = self.before(event[2])
        if previous is None:
            self.unproven = (event, chain)
        self.known, self.at = chain, (event[1], event[2])
        return previous is None or link(previous, event) == chain


def proven(segment: Segment, chain: Chain, before: str) -> Segment:
    """The first segment of a partition, judged anew now that the link before it is known.

    Args:
        segment: as it was read.
        chain: of its partition, which has read it.
        before: that link, hex; "" if it isn't known now, either.
    """
    if chain.unproven is None or segment.before or not before:
        return segment
    event, link_ = chain.unproven
    broken = segment.broken + (link(bytes.fromhex(before), event) != link_)
    return msgspec.structs.replace(segment, before=before, broken=broken)


class SegmentWriter:
    """Writes the next segment of a partition.

    Args:
        partition: its number.
        chain: of the partition, at the event before.
        compression: of the file.
    """

    def __init__(self, partition: int, chain: Chain, compression: Compression) -> None:
        self._partition = partition
        self._chain = chain
        self._compression = compression
        self._compressor = compressions.compressor(compression)
        self._file = bytearray()
        self._raw = 0
        self._facts = _Facts()

    @property
    def is_full(self) -> bool:
        """Whether it is time for the next one."""
        return self._facts.count >= EVENTS_MAX or self._raw >= BYTES_MAX

    @property
    def is_empty(self) -> bool:
        """Whether it has no event."""
        return self._facts.count == 0

    def add(self, event: Event, chain: bytes) -> None:
        """Add the next event, with its link as the archive has it."""
        line = written(event, chain)
        self._raw += len(line)
        self._file += self._compressor.compress(line)
        self._facts.take(self._chain, event, chain)

    def finish(self) -> tuple[Segment, bytes]:
        """What it is, and the file."""
        self._file += self._compressor.flush()
        data = bytes(self._file)
        name = _name(self._partition, self._facts.first[1], self._facts.last[1], self._compression)
        return self._facts.segment(name, self._partition, len(data), hashlib.sha256(data).hexdigest()), data


def written(event: Event, chain: bytes) -> bytes:
    """An event as a line."""
    values = dict(zip(FIELDS, event, strict=True))
    return msgspec.json.encode(values | {"chain": chain.hex()}) + b"\n"


def read(
    name: str,
    source: Source,
    chain: Chain,
    compression: Compression,
    take: Callable[[bytes, Event, bytes], object] = lambda *_: None,
) -> Segment:
    """Read a segment, and say what it holds: it must equal what the manifest says of it.

    Args:
        name: of the file.
        source: the file.
        chain: of its partition, at the event before.
        compression: of the file.
        take: gets each line (with its end), event and link, before the rest of the file was seen.

    Raises:
        BadSegment: it has something else than events in their order, or too much. (Events that are missing
            are broken links.)
    """
    hashed = _Hashed(source)
    facts = _Facts()
    for number, line in enumerate(_lines(name, compressions.decompressed(hashed, compression)), start=1):
        event, link_ = _parsed(name, number, line)
        if chain.at is not None and event[2] <= chain.at[1]:
            raise BadSegment(f"{name}: position {event[2]} comes after {chain.at[1]}")
        facts.take(chain, event, link_)
        take(line, event, link_)
    hashed.drain()
    if not facts.count:
        raise BadSegment(f"{name} is empty")
    segment = facts.segment(name, facts.partition, hashed.bytes, hashed.sha256)
    if name != _name(segment.partition, segment.first[1], segment.last[1], compression):
        raise BadSegment(f"{name} holds {segment.first[1]} to {segment.last[1]} of {segment.partition}")
    return segment


class _Facts:
    """What is known of a segment so far."""

    def __init__(self) -> None:
        self.count = self.broken = self.partition = 0
        self.first = self.last = (0, 0)
        self._before: bytes | None = None
        self._chain = b""
        self._at: tuple[int, int] = (0, 0)

    def take(self, chain: Chain, event: Event, link_: bytes) -> None:
        partition, epoch, pos, at = event[0], event[1], event[2], event[9]
        if not self.count:
            self.partition, self.first, self._at = partition, (epoch, pos), (at, at)
            self._before = chain.before(pos)
        self.broken += not chain.follows(event, link_)
        self.count += 1
        self.last, self._chain = (epoch, pos), link_
        self._at = (min(self._at[0], at), max(self._at[1], at))

    def segment(self, name: str, partition: int, size: int, sha256: str) -> Segment:
        return Segment(
            name=name,
            partition=partition,
            first=self.first,
            last=self.last,
            at=self._at,
            count=self.count,
            before="" if self._before is None else self._before.hex(),
            chain=self._chain.hex(),
            broken=self.broken,
            bytes=size,
            sha256=sha256,
        )


def _name(partition: int, first: int, last: int, compression: Compression) -> str:
    return f"events/p{partition:04}/{first:020}-{last:020}.jsonl{compressions.SUFFIXES[compression]}"


def _lines(name: str, source: Source) -> Sequence[bytes]:
    """All lines; a segment is small, and one that isn't is none of ours."""
    raw = io.BytesIO()
    try:
        while data := source.read(_READ_BYTES):
            raw.write(data)
            if raw.tell() > BYTES_MAX + LINE_MAX:
                raise BadSegment(f"{name} has more lines than a segment")
    except compressions.NotCompressed as error:
        raise BadSegment(f"{name}: {error}") from None
    return raw.getvalue().splitlines(keepends=True)


_TYPES: dict[str, type] = dict.fromkeys(FIELDS, str) | dict.fromkeys(
    ("partition", "epoch", "pos", "v", "at"), int
)
_LINE = msgspec.defstruct("Line", [(field, _TYPES[field]) for field in (*FIELDS,)] + [("chain", str)])
_decode = msgspec.json.Decoder(_LINE).decode


def _parsed(name: str, number: int, line: bytes) -> tuple[Event, bytes]:
    try:
        *event, chain = msgspec.structs.astuple(_decode(line))
        return tuple(event), bytes.fromhex(chain)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadSegment(f"{name} has a line that is no event: line {number}: {error}") from None


class _Hashed:
    """A source whose bytes are counted and hashed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        self.bytes += len(data)
        return data

    def drain(self) -> None:
        while self.read(_READ_BYTES):
            pass
