"""Streams that shrink and grow again: zstd and gzip behind one face, in constant memory.

zstd comes with the extra `backup`; it is imported when it is asked for.
"""

from __future__ import annotations

import zlib
from typing import Literal, Protocol

Compression = Literal["none", "zstd", "gzip"]
SUFFIXES: dict[Compression, str] = {"none": "", "zstd": ".zst", "gzip": ".gz"}

_GZIP = 16 + zlib.MAX_WBITS
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6
_WINDOW_MAX = 1 << 27  # bytes that a stream may make its reader keep: what level 19 asks for, sixteen times
_READ_BYTES = 64 * 1024


class NotCompressed(ValueError):  # noqa: N818 - a finding about somebody's data
    """What was to be decompressed is damaged, or something else."""


class Source(Protocol):
    """What can be read."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end only."""


class Compressor(Protocol):
    """Takes what there is, gives what is ready."""

    def compress(self, data: bytes, /) -> bytes:
        """Take `data`; what can be written by now."""

    def flush(self) -> bytes:
        """The rest; nothing more is taken."""


def compressor(compression: Compression) -> Compressor:
    """A fresh stream."""
    match compression:
        case "zstd":
            import zstandard  # noqa: PLC0415 - an extra

            return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
        case "gzip":
            return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
        case "none":
            return _Plain()


def decompressed(source: Source, compression: Compression) -> Source:
    """What `source` holds, decompressed as it is read: never more of it in memory than was asked for, and a window.

    Raises:
        NotCompressed: when read, of what is damaged or ends too early.
    """
    match compression:
        case "zstd":
            return _Zstd(source)
        case "gzip":
            return _Gzip(source)
        case "none":
            return source


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Zstd:
    def __init__(self, source: Source) -> None:
        import zstandard  # noqa: PLC0415 - an extra

        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX).stream_reader(
            source,  # type: ignore[arg-type]  # it only reads
            read_size=_READ_BYTES,
        )

    def read(self, size: int, /) -> bytes:
        try:
            return self._reader.read(size)
        except self._error as error:
            raise NotCompressed(f"it is no zstd stream, or a damaged one: {error}") from None


class _Gzip:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._stream = zlib.decompressobj(_GZIP)

    def read(self, size: int, /) -> bytes:
        while not self._stream.eof:
            given = self._stream.unconsumed_tail or self._source.read(_READ_BYTES)
            if not given:
                raise NotCompressed("it is a gzip stream without its end")
            try:
                data = self._stream.decompress(given, size)
            except zlib.error as error:
                raise NotCompressed(f"it is no gzip stream, or a damaged one: {error}") from None
            if data:
                return data
        return b""
