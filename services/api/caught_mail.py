"""A caught message, read without trust: whoever sent it may have made it to break its reader."""

from __future__ import annotations

import email
import email.header
import email.policy
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING, Any

from shared.eventlog.envelope import rfc3339
from shared.mail_folder import received_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

TEXT_MAX = 200_000  # characters of a part that are shown
HEADER_MAX = 2_000
HEADERS_SHOWN = 100
PARTS_MAX = 100
BOUNDARIES_MAX = (
    1_000  # lines that may begin a part, and lines in all: beyond, taking it apart takes too long
)
LINES_MAX = 300_000
HEAD_BYTES = 64 * 1024  # in which the headers stand
UNREADABLE = "(can't be read)"
# Headers as they are written, as parsing their values is where a crafted one breaks the library; see `_header`.
_POLICY = email.policy.compat32


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """A message.

    Attributes:
        summary: name, received_at, from, to, cc, subject, envelope_to, bytes.
        headers: as the sender wrote them, decoded.
        text: the first plain part; None if there is none.
        html: the first HTML part, as source; likewise.
        attachments: name, content_type, bytes of each other part.
    """

    summary: dict[str, Any]
    headers: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None
    attachments: tuple[dict[str, Any], ...]


def summary(name: str, head: bytes, size: int) -> dict[str, Any]:
    """What a list shows of a message.

    Args:
        name: of its file.
        head: its beginning, all headers in it.
        size: of the whole, in bytes.
    """
    return _summary(name, BytesHeaderParser(policy=_POLICY).parsebytes(head), size)


def read(name: str, content: bytes) -> Caught:
    """A whole message; what can't be understood of it is shown as text."""
    message, parts = _parsed(content)
    plain, html = (_first(parts, f"text/{kind}") for kind in ("plain", "html"))
    return Caught(
        summary=_summary(name, message, len(content)),
        headers=tuple((key, _decoded(value)) for key, value in message.items()[:HEADERS_SHOWN]),
        text=None if plain is None else _text(plain),
        html=None if html is None else _text(html),
        attachments=tuple(_attached(part) for part in parts if part is not plain and part is not html),
    )


def _parsed(content: bytes) -> tuple[Message, list[Message]]:
    """The message and its parts; only its headers, if there are too many of these, or too deep ones."""
    if content.count(b"\n--") <= BOUNDARIES_MAX and content.count(b"\n") <= LINES_MAX:
        try:
            message: Message = email.message_from_bytes(content, policy=_POLICY)
            return message, [part for part in message.walk() if not part.is_multipart()][:PARTS_MAX]
        except (RecursionError, ValueError, LookupError):
            pass
    return BytesHeaderParser(policy=_POLICY).parsebytes(content[:HEAD_BYTES]), []


def _summary(name: str, message: Message, size: int) -> dict[str, Any]:
    told = {key: _header(message, key) for key in ("from", "to", "cc", "subject")}
    everybody = [_decoded(value) for value in message.get_all("X-Envelope-To", [])]
    return {
        "name": name,
        "received_at": rfc3339(received_at(name)),
        **told,
        "envelope_to": everybody,
        "bytes": size,
    }


def _header(message: Message, name: str) -> str:
    return _decoded(message.get(name, ""))


def _decoded(value: object) -> str:
    """A header's value for people: encoded words decoded, if that goes well; no line breaks, no half characters."""
    text = str(value)[: HEADER_MAX * 4]
    try:
        text = str(email.header.make_header(email.header.decode_header(text)))
    except Exception:  # noqa: BLE001 - whatever the library does with what somebody has crafted
        text = str(text)
    return _whole(" ".join(text.split()))[:HEADER_MAX]


def _whole(text: str) -> str:
    return text.encode(errors="replace").decode()


def _first(parts: list[Message], kind: str) -> Message | None:
    found: Iterator[Message] = (
        part for part in parts if part.get_content_type() == kind and not _is_attached(part)
    )
    return next(found, None)


def _is_attached(part: Message) -> bool:
    return str(part.get("Content-Disposition", "")).lower().startswith("attachment")


def _bytes(part: Message) -> bytes:
    try:
        content = part.get_payload(decode=True)
    except Exception:  # noqa: BLE001 - likewise
        return UNREADABLE.encode()
    return content if isinstance(content, bytes) else b""


def _text(part: Message) -> str:
    content = _bytes(part)[: TEXT_MAX * 4]
    try:
        text = content.decode(str(part.get_content_charset() or "utf-8"), errors="replace")
    except (LookupError, ValueError):
        text = content.decode(errors="replace")
    return _whole(text)[:TEXT_MAX]


def _attached(part: Message) -> dict[str, Any]:
    try:
        name = _decoded(part.get_filename() or "")
    except Exception:  # noqa: BLE001 - likewise
        name = UNREADABLE
    return {"name": name, "content_type": _whole(part.get_content_type()), "bytes": len(_bytes(part))}
