"""What `http_request` makes of an answer: whether it is a good one, when to ask again, and what of it is kept."""

from __future__ import annotations

import json
import re
import time
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from shared.handlers import GiveUp
from shared.job_types.http_request import RETRY_AFTER_MAX_S, STORED_MAX

if TYPE_CHECKING:
    from services.executor.masking import Mask
    from services.executor.web import Answer

KEPT_HEADERS = (
    "content-type",
    "content-length",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "x-request-id",
)
HEADER_MAX = 200  # characters
SAID_MAX = 300  # characters of an answer, in a failure's message
LOOKED_AT = (
    128 * 1024
)  # bytes of an answer: enough for what is stored and the longest secret before it is masked
DEPTH_MAX = 20
_TEXTUAL = re.compile(
    r"text/.*|application/(.*\+)?(json|xml|yaml|javascript|x-www-form-urlencoded|problem.*)"
)
_JSON = re.compile(r"application/(.*\+)?json")
_CHARSETS = frozenset(
    {"utf-8", "us-ascii", "iso-8859-1", "iso-8859-2", "iso-8859-15", "windows-1250", "windows-1252"}
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class NotNow(Exception):  # noqa: N818 - its name is what people read as the failure's class
    """408 or 425: the server did not take the request, and may the next time."""


class TooManyRequests(Exception):  # noqa: N818 - likewise
    """429: the server has had enough for now."""


class ServerError(Exception):
    """5xx: something is wrong at the server."""


class UnexpectedStatus(GiveUp):
    """The server has answered, with a status that is not expected and that another attempt would not change."""


AGAIN: dict[int, type[Exception]] = {408: NotNow, 425: NotNow, 429: TooManyRequests} | dict.fromkeys(
    range(500, 600), ServerError
)
SAY_WHEN = frozenset({429, 503})


def retry_after_s(answer: Answer) -> float | None:
    """How long the server asks to be left alone, 1 second to an hour; None if it doesn't say (RFC 9110, 10.2.3)."""
    said = answer.headers.get("retry-after", "").strip() if answer.status in SAY_WHEN else ""
    if said.isascii() and said.isdigit():
        seconds = float(said[:9])
    else:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, OverflowError, IndexError, TypeError):
            return None
    return min(max(seconds, 1.0), RETRY_AFTER_MAX_S)


def kept_headers(answer: Answer) -> dict[str, str]:
    """A few that tell something and hold nothing secret; Location without its query."""
    found = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
    if "location" in found:
        found["location"] = re.split("[?#]", found["location"])[0]
    return {name: _CONTROL.sub("\ufffd", value)[:HEADER_MAX] for name, value in found.items()}


def stored(answer: Answer, limit: int, mask: Mask) -> tuple[Any, bool]:
    """What the result has of the answer's content, and whether that isn't all of it.

    Args:
        answer: see there.
        limit: bytes.
        mask: secrets are masked before the text is cut: the half of one would be recognized by nobody.
    """
    text = _text(answer)
    if text is None or limit == 0:
        return None, bool(answer.size)
    whole = answer.whole and len(answer.content) <= min(limit, LOOKED_AT)
    if whole and _JSON.fullmatch(_kind(answer).get_content_type()):
        try:
            return _small_json(text), False
        except (ValueError, RecursionError):
            pass  # kept as the text that it is
    masked = mask.text(text)
    cut = masked.encode(errors="replace")[:limit].decode(errors="ignore")
    return cut, not answer.whole or len(answer.content) > LOOKED_AT or len(cut) < len(masked)


def said(answer: Answer, mask: Mask) -> str:
    """The beginning of the answer in a line, for a failure's message; "" if there is nothing to read."""
    text = " ".join(mask.text(_text(answer) or "").split())
    return f": {text[:SAID_MAX]}" if text else ""


def _kind(answer: Answer) -> Message:
    message = Message()
    message["content-type"] = answer.headers.get("content-type", "").partition("\n")[0] or "text/plain"
    return message


def _text(answer: Answer) -> str | None:
    """The content as text, without control characters; None if it is none, or not in a known encoding."""
    kind = _kind(answer)
    if not answer.content or not _TEXTUAL.fullmatch(kind.get_content_type()):
        return None
    charset = str(kind.get_param("charset") or "utf-8").lower()
    text = answer.content[:LOOKED_AT].decode(charset if charset in _CHARSETS else "utf-8", errors="replace")
    return _CONTROL.sub("\ufffd", text)


def _small_json(text: str) -> Any:
    """The value.

    Raises:
        ValueError: it is none, or not one that a result can have; likewise RecursionError.
    """
    value = json.loads(text)
    if len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) > 2 * STORED_MAX:
        raise ValueError("numbers written out at length")
    if _depth(value) > DEPTH_MAX:
        raise ValueError("nested deeply")
    return value


def _depth(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
        case _:
            return 0
