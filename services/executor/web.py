"""The way out to the web, for whatever names a URL: guarded, checked by TLS, bounded, and the same for all.

No proxy of the environment, no cookies, no redirect by itself, no connection that outlives a `Web`. What an answer has
beyond READ_MAX bytes is not read, and what its gzip holds beyond that not unpacked.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import httpcore

from services.executor.web_guard import CONNECT_S, Guard, NameNotFound, NotPublic, Resolve, look_up
from shared.handlers import GiveUp

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from shared.job_types.web_address import Network, WebAddress

__all__ = ["Answer", "BrokenAnswer", "NameNotFound", "NotConnected", "NotPublic", "Question", "UnfitRequest"]
__all__ += ["UntrustedCertificate", "Web"]

READ_MAX = 1024 * 1024  # bytes of an answer, as they come and unpacked
KEPT_MAX = 256 * 1024  # of them, in memory
_GZIP = 16 + zlib.MAX_WBITS


class NotConnected(ConnectionError):  # noqa: N818 - its name is what people read as the failure's class
    """The server could not be reached, or not spoken to by TLS."""


class BrokenAnswer(ConnectionError):  # noqa: N818 - likewise
    """The connection broke before the answer was whole, or what came was no HTTP."""


class UntrustedCertificate(GiveUp):
    """The server's certificate is not for this host, has expired, or nobody trusted has signed it."""


class UnfitRequest(GiveUp):
    """The request can't be sent as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request.

    Attributes:
        headers: without Host and those of the connection, by lower-case name.
        content: None where there is no body, not even an empty one.
    """

    method: str
    address: WebAddress
    headers: Mapping[str, str]
    content: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response.

    Attributes:
        headers: by lower-case name; of several by one name the first.
        content: the first KEPT_MAX bytes, unpacked.
        whole: content is all there was.
        size: bytes that were read, as they came.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    whole: bool
    size: int


class Web:
    """Connections of one errand; `async with` closes them.

    Args:
        networks: what may be reached though it isn't public.
        ca_file: certificates (PEM) that are trusted beside the public ones.
        resolve: the addresses of a name.
    """

    def __init__(
        self,
        networks: Collection[Network] = (),
        *,
        ca_file: Path | None = None,
        resolve: Resolve = look_up,
    ) -> None:
        self._guard = Guard(networks, resolve)
        self._ca_file = ca_file
        self._pool: httpcore.AsyncConnectionPool

    async def __aenter__(self) -> Self:
        # The first time some hundred certificates are read: not on the loop.
        trust = await asyncio.to_thread(_trust, self._ca_file)
        self._pool = httpcore.AsyncConnectionPool(ssl_context=trust, network_backend=self._guard)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.aclose()

    async def ask(self, question: Question) -> Answer:
        """Send the request, and read its answer; the caller has the timeout, but for connecting.

        Raises:
            NotPublic: see there, and the others; of these another attempt mends NameNotFound, NotConnected and
                BrokenAnswer only.
        """
        address = question.address
        try:
            async with self._pool.stream(
                question.method,
                httpcore.URL(
                    scheme=address.scheme, host=address.host, port=address.port, target=address.target
                ),
                headers=[("host", address.authority), *question.headers.items()],
                content=question.content,
                extensions={"timeout": {"connect": CONNECT_S}},
            ) as response:
                return await _read(response)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise _unconnected(address.authority, error) from error
        except (httpcore.NetworkError, httpcore.RemoteProtocolError, httpcore.TimeoutException) as error:
            raise BrokenAnswer(f"{address.authority} broke off: {_said(error) or 'it hung up'}") from error
        except httpcore.LocalProtocolError:  # its message may show a header
            raise UnfitRequest("the request can't be sent: it would be no HTTP") from None


@lru_cache(maxsize=4)
def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = httpcore.default_ssl_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one, too; neither says which file
            raise OSError(f"DAYBOOK_HTTP_CA_FILE {ca_file} can't be read: {error}") from error
    return context


async def _read(response: httpcore.Response) -> Answer:
    headers: dict[str, str] = {}
    for name, value in response.headers:
        headers.setdefault(name.decode("latin-1").lower(), _decoded(value))
    content, size, whole = await _content(response, headers.get("content-encoding", "").strip().lower())
    return Answer(status=response.status, headers=headers, content=content, whole=whole, size=size)


async def _content(response: httpcore.Response, encoding: str) -> tuple[bytes, int, bool]:
    """What was kept; how many bytes came; whether that is all."""
    unpack = _Unpacking(encoding)
    size = 0
    async for chunk in response.aiter_stream():
        room = READ_MAX - size
        size += len(chunk[:room])
        unpack.take(chunk[:room])
        if len(chunk) > room or unpack.full:
            return bytes(unpack.kept), size, False
    return bytes(unpack.kept), size, unpack.whole


class _Unpacking:
    """Takes an answer's bytes in, unpacks gzip, and keeps the first of them.

    What is packed otherwise was not asked for: nothing of it is kept.
    """

    def __init__(self, encoding: str) -> None:
        self.kept = bytearray()
        self._size = 0
        self._gzip = zlib.decompressobj(_GZIP) if encoding in {"gzip", "x-gzip"} else None
        self._unreadable = self._gzip is None and encoding not in {"", "identity"}

    @property
    def full(self) -> bool:
        """There is more than is unpacked."""
        return self._size > READ_MAX

    @property
    def whole(self) -> bool:
        """All that came is kept."""
        ended = self._gzip is None or self._gzip.eof or self._size == 0
        return ended and self._size == len(self.kept) and not self._unreadable

    def take(self, chunk: bytes) -> None:
        if self._unreadable:
            return
        content = chunk if self._gzip is None else self._unpacked(self._gzip, chunk)
        self._size += len(content)
        self.kept += content[: KEPT_MAX - len(self.kept)]

    def _unpacked(self, gzip: zlib._Decompress, chunk: bytes) -> bytes:
        try:
            # Never 0, which would mean no limit: who is full is given nothing more.
            return gzip.decompress(chunk, READ_MAX + 1 - self._size)
        except zlib.error:
            self._unreadable = True
            return b""


def _unconnected(authority: str, error: Exception) -> NotConnected | UntrustedCertificate:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UntrustedCertificate(
                f"the certificate of {authority} is not trusted: {cause.verify_message}"
            )
        if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and cause.errno:
            return NotConnected(f"{authority} can't be reached: {os.strerror(cause.errno)}")
    return NotConnected(f"{authority} can't be reached: {_said(error) or 'it does not answer'}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _said(error: Exception) -> str:
    """What went wrong, in a line; never the request."""
    return str(error).strip().partition("\n")[0][:200]


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
