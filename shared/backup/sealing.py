"""How the chunks of a backup are sealed, so that nobody changes, swaps, drops or doubles one unseen.

See `container` for the format. With a key the seal is AES-256-GCM (RFC 5116), and nobody reads without it either;
without one it is a SHA-256, which finds accidents, but whoever can write the object can make it anew.

The key of an object is HKDF-SHA-256 (RFC 5869) of the secret, with the object's random salt, over all of its header:
it is used for one object only, so counters serve as nonces, and a header that was changed opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.compression import Compression

MAGIC = b"DAYBOOKB"
VERSION = 1
SALT_BYTES = 32
SECRET_MIN = 16  # bytes: HKDF makes a key of a secret, and no secret of a password
CHUNK_MIN, CHUNK_MAX = 1024, 16 * 1024 * 1024

_HEAD = Struct(">8sBBBBI32s")
_CHECK_BYTES = 16
HEADER_BYTES = _HEAD.size + _CHECK_BYTES
_NONCE = Struct(">3xQB")  # 12 bytes: the chunk's number, and whether it is the last
_COMPRESSIONS: tuple[Compression, ...] = ("none", "zstd", "gzip")


class BadBackup(Exception):  # noqa: N818 - its name is what people read as the failure's class
    """What is stored is no backup that can be trusted; the message is a sentence that says why."""


class Damaged(BadBackup):
    """The backup was changed after it was written, or cut off."""


class WrongKey(BadBackup):
    """The key is another than the one the backup was encrypted with, or is missing."""


class WeakKey(ValueError):  # noqa: N818 - likewise
    """The secret is too short to be a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What stands before the chunks.

    Attributes:
        encrypted: sealed with a key.
        chunk_bytes: how much data a chunk has, but for the last two.
        salt: SALT_BYTES of chance.
    """

    encrypted: bool
    compression: Compression
    chunk_bytes: int
    salt: bytes

    def head(self) -> bytes:
        """All of it but for the check at its end."""
        compression = _COMPRESSIONS.index(self.compression)
        return _HEAD.pack(MAGIC, VERSION, int(self.encrypted), compression, 0, self.chunk_bytes, self.salt)


class Seal(Protocol):
    """Closes and opens chunks.

    Attributes:
        size: bytes that a chunk is longer when it is sealed.
        header: as it is stored.
    """

    size: int
    header: bytes

    def close(self, number: int, data: bytes, *, last: bool) -> bytes:
        """The chunk as it is stored."""

    def open(self, number: int, chunk: bytes, *, last: bool) -> bytes:
        """The chunk's data.

        Raises:
            Damaged: it is not the chunk that was stored in this place.
        """


def seal_of(header: Header, secret: bytes | None) -> Seal:
    """The seal of a new object.

    Args:
        header: of that object.
        secret: needed if it is to be encrypted.

    Raises:
        WeakKey: see SECRET_MIN.
        WrongKey: there is none.
    """
    if not header.encrypted:
        return _Digest(header)
    if secret is None:
        raise WrongKey("The backup is encrypted: give the key it was made with.")
    if len(secret) < SECRET_MIN:
        raise WeakKey(
            f"A key for backups has {SECRET_MIN} bytes or more, best of chance: openssl rand -base64 32"
        )
    return _AesGcm(header, secret)


def read_header(stored: bytes, secret: bytes | None) -> tuple[Header, Seal]:
    """The header of a stored object, and what opens its chunks.

    Raises:
        BadBackup: it is none, it is damaged, or the key is wrong.
        WeakKey: see `seal_of`.
    """
    header = _parsed(stored)
    seal = seal_of(header, secret)
    if not hmac.compare_digest(seal.header, stored):
        if header.encrypted:
            raise WrongKey(
                "The key is not the one this backup was made with (or the backup's header is damaged)."
            )
        raise Damaged("The header is damaged.")
    return header, seal


def _parsed(stored: bytes) -> Header:
    if len(stored) != HEADER_BYTES or not stored.startswith(MAGIC):
        raise BadBackup("This is no backup of Daybook, or one that was cut off in its header.")
    _, version, encrypted, compression, zero, chunk_bytes, salt = _HEAD.unpack(stored[: _HEAD.size])
    if version != VERSION:
        raise BadBackup(f"The backup has format {version}; this build reads {VERSION}.")
    if (
        encrypted > 1
        or compression >= len(_COMPRESSIONS)
        or zero
        or not CHUNK_MIN <= chunk_bytes <= CHUNK_MAX
    ):
        raise Damaged("The header is damaged.")
    return Header(
        encrypted=bool(encrypted),
        compression=_COMPRESSIONS[compression],
        chunk_bytes=chunk_bytes,
        salt=salt,
    )


class _Digest:
    size = hashlib.sha256().digest_size

    def __init__(self, header: Header) -> None:
        head = header.head()
        self.header = head + hashlib.sha256(head).digest()[:_CHECK_BYTES]

    def close(self, number: int, data: bytes, *, last: bool) -> bytes:
        return data + self._over(number, data, last)

    def open(self, number: int, chunk: bytes, *, last: bool) -> bytes:
        data = chunk[: -self.size]
        if not hmac.compare_digest(chunk[-self.size :], self._over(number, data, last)):
            raise Damaged(f"Chunk {number} is not as it was written.")
        return data

    def _over(self, number: int, data: bytes, last: bool) -> bytes:  # noqa: FBT001 - the seal's own
        return hashlib.sha256(self.header + _NONCE.pack(number, last) + data).digest()


class _AesGcm:
    size = 16

    def __init__(self, header: Header, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra

        head = header.head()
        self.header = head + _derived(secret, header.salt, b"daybook backup, key check" + head, _CHECK_BYTES)
        self._cipher = AESGCM(_derived(secret, header.salt, b"daybook backup, chunks" + head, 32))

    def close(self, number: int, data: bytes, *, last: bool) -> bytes:
        return self._cipher.encrypt(_NONCE.pack(number, last), data, self._about(last))

    def open(self, number: int, chunk: bytes, *, last: bool) -> bytes:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

        try:
            return self._cipher.decrypt(_NONCE.pack(number, last), chunk, self._about(last))
        except InvalidTag:
            raise Damaged(f"Chunk {number} is not as it was written.") from None

    def _about(self, last: bool) -> bytes:  # noqa: FBT001 - the seal's own
        return self.header + (b"\1" if last else b"\0")


def _derived(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)
