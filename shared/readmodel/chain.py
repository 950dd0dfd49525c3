"""The hash chain of the archive: each event's link is SHA-256 over the link before it and all its fields.

So an event that was changed, dropped or put in between shows in every link after it. The encoding is fixed
and
unambiguous: 32 bytes of the previous link, then each field as UTF-8 text (numbers in decimal) preceded by
its length in bytes as a big-endian 32-bit number. Never change it: archives are verified by it.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GENESIS = bytes(32)  # before the first event of a partition
FIELDS = (
    "partition", "epoch", "pos", "id", "type", "v", "subject", "job", "advances", "at", "actor", "cause",
    "corr", "trace", "data",
)  # fmt: skip
_LENGTH = Struct(">I").pack


def link(previous: bytes, fields: Sequence[str | int]) -> bytes:
    """The link of an event after the one of link `previous`.

    Args:
        previous: 32 bytes; GENESIS before a partition's first event.
        fields: values of FIELDS, in this order; `at` in ms.
    """
    parts = [previous]
    for field in fields:
        text = field.encode() if isinstance(field, str) else b"%d" % field
        parts += (_LENGTH(len(text)), text)
    return sha256(b"".join(parts)).digest()
