"""Ids that route themselves: UUIDv8 = 48 bits of ms, 12 bits of partition, 62 bits of chance or of a cause.

```
 tttttttt-tttt-8ppp-vccc-cccccccccccc      t: Unix ms   p: partition   v: variant 10   c: chance, or SHA-256
```
So a job or run id sorts by time, names its partition (all keys of a job and its runs stand there) and its
month (the table partition its row stands in). RFC 9562 §5.8 leaves the layout of version 8 to us.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta

PARTITIONS_MAX = 1 << 12
_CHANCE_BITS = 62
_CHANCE_MASK = (1 << _CHANCE_BITS) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class BadId(ValueError):  # noqa: N818 - named for what is wrong
    """Not an id of ours: job and run ids are lower-case UUIDs of version 8."""


def to_ms(at: datetime) -> int:
    """Whole milliseconds since 1970 of an aware time; exact, as floats are not."""
    return (at - _EPOCH) // _MS


def from_ms(ms: int) -> datetime:
    """The aware UTC time of `ms` milliseconds since 1970."""
    return _EPOCH + ms * _MS


def chance_id(at: datetime, partition: int, chance: int) -> str:
    """The id of a thing made once, by somebody's wish; `chance` is 62 random bits or more."""
    return _uuid8(to_ms(at), partition, chance & _CHANCE_MASK)


def derived_id(at: datetime, partition: int, *cause: str) -> str:
    """The id of a thing that a cause makes: the same cause can't make two.

    Args:
        at: the occurrence's nominal time; it stands in the id.
        partition: of the job.
        cause: what tells this thing from all others (job id, nominal time, trigger, …).
    """
    digest = hashlib.sha256("\x1f".join(cause).encode()).digest()
    return _uuid8(to_ms(at), partition, int.from_bytes(digest[:8]) & _CHANCE_MASK)


def event_id(at_ms: int, chance: int) -> str:
    """A UUIDv7 (RFC 9562 §5.7) for an event or a command; `chance` is 74 random bits or more."""
    value = (at_ms & (1 << 48) - 1) << 80 | 0x7 << 76
    value |= (chance >> 62 & 0xFFF) << 64 | 0b10 << 62 | chance & _CHANCE_MASK
    return _text(value)


def parse(text: str) -> str:
    """`text` as an id of ours.

    Raises:
        BadId: it is not one, in its one canonical spelling.
    """
    try:
        value = uuid.UUID(text)
    except (ValueError, AttributeError):
        raise BadId(f"{text[:50]!r} is not an id") from None
    if str(value) != text or value.version != 8:  # noqa: PLR2004 - UUID version 8
        raise BadId(f"{text[:50]!r} is not an id of a job or a run")
    return text


def partition_of(identifier: str) -> int:
    """The partition that holds everything about this job or run."""
    return int(identifier[15:18], 16)


def time_of(identifier: str) -> datetime:
    """The time in the id: creation of a job or trigger, nominal time of an occurrence."""
    return from_ms(int(identifier[:8] + identifier[9:13], 16))


def _uuid8(ms: int, partition: int, low: int) -> str:
    return _text((ms & (1 << 48) - 1) << 80 | 0x8 << 76 | partition << 64 | 0b10 << 62 | low)


def _text(value: int) -> str:
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
