"""The format of a backup: one payload, compressed, cut into chunks, each of them sealed. All numbers are big-endian.

```
 header, 64 bytes
    8  DAYBOOKB
    1  format: 1
    1  seal: 0 SHA-256, 1 AES-256-GCM
    1  compression of the payload: 0 none, 1 zstd, 2 gzip
    1  0
    4  C, how many bytes of data a chunk has
   32  salt, of chance
   16  check: tells a wrong key, or a damaged header, before anything is read
 chunks 0 … n-1: C bytes each, the last one 1 … C, and after each its seal (16 bytes of AES-GCM's tag; 32 of SHA-256)
 chunk n, the last: 16 bytes (8: length of the payload; 8: of it compressed), and its seal
```
Over a chunk goes: the header, the chunk's number, whether it is the last, its data. With AES-GCM these are nonce
(3 zero bytes, 8 of the number, 1 of "last"), associated data (header and "last") and the encrypted; the key is made of
the secret as `sealing` says. Without encryption the seal is SHA-256 (header ‖ the same 12 bytes ‖ data).

So one flipped bit, a chunk that is missing, doubled, moved, or from another backup, and an end cut off are all refused,
and each chunk before a byte of it is used. What a payload grows to when it is decompressed stands in the last chunk,
which can be read first; reading stops there, whatever the compressed stream holds.
"""

from __future__ import annotations

import hashlib
import os
from struct import Struct
from typing import TYPE_CHECKING, Protocol

from shared.backup.sealing import HEADER_BYTES, Damaged, Header, read_header, seal_of
from shared.compression import NotCompressed, compressor, decompressed

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.backup.sealing import Seal
    from shared.compression import Compression

CHUNK_BYTES = 256 * 1024
_TRAILER = Struct(">QQ")


class Stored(Protocol):
    """An object that is read."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end only."""

    def seek(self, offset: int, /) -> int:
        """Go on at `offset`."""


class Writer:
    """Writes one.

    Attributes:
        payload_bytes: taken so far.
        stored_bytes: written so far.

    Args:
        write: takes what is to be stored.
        compression: of the payload.
        secret: encrypts; None: it is not encrypted.

    Raises:
        WeakKey: the secret is too short.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        *,
        compression: Compression,
        secret: bytes | None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        header = Header(
            encrypted=secret is not None,
            compression=compression,
            chunk_bytes=chunk_bytes,
            salt=os.urandom(32),
        )
        self.payload_bytes = 0
        self.stored_bytes = 0
        self._write = write
        self._seal = seal_of(header, secret)
        self._compressor = compressor(compression)
        self._chunk_bytes = chunk_bytes
        self._waiting = bytearray()
        self._number = 0
        self._data_bytes = 0
        self._digest = hashlib.sha256()
        self._store(self._seal.header)

    @property
    def sha256(self) -> str:
        """Of all that was written, hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        """Take more of the payload."""
        self.payload_bytes += len(data)
        self._take(self._compressor.compress(data))
        return len(data)

    def finish(self) -> None:
        """Write what is left; nothing more is taken."""
        self._take(self._compressor.flush())
        if self._waiting:
            self._chunk(bytes(self._waiting), last=False)
        self._chunk(_TRAILER.pack(self.payload_bytes, self._data_bytes), last=True)

    def _take(self, data: bytes) -> None:
        self._waiting += data
        while len(self._waiting) >= self._chunk_bytes:
            self._chunk(bytes(self._waiting[: self._chunk_bytes]), last=False)
            del self._waiting[: self._chunk_bytes]

    def _chunk(self, data: bytes, *, last: bool) -> None:
        if not last:
            self._data_bytes += len(data)
        self._store(self._seal.close(self._number, data, last=last))
        self._number += 1

    def _store(self, stored: bytes) -> None:
        self._digest.update(stored)
        self.stored_bytes += len(stored)
        self._write(stored)


class Reader:
    """Reads one: `read` until it gives nothing, and then all of it is as it was written.

    Attributes:
        header: what it says of itself.
        payload_bytes: how long the payload is.

    Args:
        stored: the object.
        size: its length in bytes.
        secret: as it was written with; not needed if it isn't encrypted.

    Raises:
        BadBackup: it is none, it is damaged, or the key is wrong.
    """

    def __init__(self, stored: Stored, size: int, *, secret: bytes | None) -> None:
        stored.seek(0)
        self.header, seal = read_header(_exactly(stored, HEADER_BYTES), secret)
        self._chunks = _Chunks(stored, size, self.header, seal)
        self.payload_bytes = self._chunks.payload_bytes
        self._payload = decompressed(self._chunks, self.header.compression)
        self._left = self.payload_bytes

    @property
    def sha256(self) -> str:
        """Of what was stored, hex; once all is read."""
        return self._chunks.sha256

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes of the payload, none at its end.

        Raises:
            Damaged: what was stored is not what was written.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        if wanted == 0:
            self._check_end()
            return b""
        data = self._decompressed(wanted)
        if not data:
            raise Damaged("The payload ends too early.")
        self._left -= len(data)
        return data

    def _check_end(self) -> None:
        if self._left:
            return
        if self._decompressed(1):
            raise Damaged("The payload is longer than was said.")
        self._chunks.drain()

    def _decompressed(self, size: int) -> bytes:
        try:
            return self._payload.read(size)
        except NotCompressed as error:
            raise Damaged(f"The payload can't be decompressed: {error}.") from None


class _Chunks:
    """The chunks' data, one after the other."""

    def __init__(self, stored: Stored, size: int, header: Header, seal: Seal) -> None:
        self._stored = stored
        self._seal = seal
        self._full = header.chunk_bytes + seal.size
        self._last = _TRAILER.size + seal.size
        self._between = size - HEADER_BYTES - self._last
        self._count = -(-self._between // self._full)
        self.payload_bytes = self._said()
        self._number = 0
        self._ready = b""
        self._at = 0
        self._digest = hashlib.sha256(seal.header)
        self._drained = False
        stored.seek(HEADER_BYTES)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int, /) -> bytes:
        if self._at == len(self._ready):
            if self._number == self._count:
                return b""
            self._ready, self._at = self._next(), 0
        data = self._ready[self._at : self._at + size]
        self._at += len(data)
        return data

    def drain(self) -> None:
        """Look at all that is left."""
        while self._number < self._count:
            self._next()
        if not self._drained:
            self._digest.update(_exactly(self._stored, self._last))
            self._drained = True

    def _next(self) -> bytes:
        left = self._between - self._number * self._full
        stored = _exactly(self._stored, min(self._full, left))
        self._digest.update(stored)
        data = self._seal.open(self._number, stored, last=False)
        self._number += 1
        return data

    def _said(self) -> int:
        """How long the payload is, from the last chunk; its number says how many there must be."""
        if self._between < 0:
            raise Damaged("The backup was cut off.")
        self._stored.seek(HEADER_BYTES + self._between)
        stored = _exactly(self._stored, self._last)
        try:
            payload_bytes, data_bytes = _TRAILER.unpack(self._seal.open(self._count, stored, last=True))
        except Damaged:
            raise Damaged("The backup was cut off, or its end is not as it was written.") from None
        if data_bytes != self._between - self._count * self._seal.size:
            raise Damaged("The backup's end speaks of another length.")
        return int(payload_bytes)


def _exactly(stored: Stored, size: int) -> bytes:
    parts = []
    while size:
        data = stored.read(size)
        if not data:
            raise Damaged("The backup was cut off.")
        parts.append(data)
        size -= len(data)
    return b"".join(parts)
