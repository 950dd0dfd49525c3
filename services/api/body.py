"""Bodies on their way in: kept up to a size, and what is beyond is read and dropped.

A server that answers 413 and hangs up while the client still sends makes most clients see a broken connection
instead of the answer. So the rest is read first, up to a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Request
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

DRAINED_MAX = 64 * 1024 * 1024  # whoever sends more doesn't get to read the answer


class DrainedBody(Body):
    """A body that raises RequestEntityTooLarge only once all of it has come, or DRAINED_MAX bytes have."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(None, None)
        self._limit = max_content_length
        self._received = 0
        if expected_content_length is not None and expected_content_length > DRAINED_MAX:
            self._received = expected_content_length
            self.set_complete()

    def __await__(self) -> Generator[Any, None, bytes]:
        yield from self._complete.wait().__await__()
        if self._too_large:
            raise RequestEntityTooLarge
        return bytes(self._data)

    def append(self, data: bytes) -> None:
        """Take the next piece."""
        self._received += len(data)
        if not self._too_large:
            super().append(data)
            return
        self.clear()
        if self._received > DRAINED_MAX:
            self.set_complete()

    @property
    def _too_large(self) -> bool:
        return self._limit is not None and self._received > self._limit


class ApiRequest(Request):
    """A request with such a body."""

    body_class = DrainedBody
