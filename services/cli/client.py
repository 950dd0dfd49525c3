"""The REST API, as commands use it: one address, one credential, problems as sentences, requests sent again.

What changes something by POST goes out under an Idempotency-Key, so it may be sent again when nobody knows what became
of it. Other requests are sent again only if they read, or never arrived.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import tenacity

from services.cli.failures import UNREACHABLE, Failed, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BASE = "/api/v1"
TRIES = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 30.0
ANSWER_S = 60.0  # the largest apply takes 25
PAGE = 200
_BUSY = frozenset({429, 503})
_WRONG = 400


class _Again(Exception):  # noqa: N818 - a wish
    """The request may be sent again; `failure` is what is said if it isn't any more."""

    def __init__(self, failure: Failed, after_s: float | None = None) -> None:
        self.failure = failure
        self.after_s = after_s


class Client:
    """The API at `url`.

    Args:
        url: of the system, with or without /api/v1.
        token: an API key or a token; None where authentication is off.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/").removesuffix(BASE)
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            here = urlsplit(self.url).hostname in {"localhost", "127.0.0.1", "::1"}
            self.http = httpx.Client(base_url=self.url, headers=headers, timeout=ANSWER_S, trust_env=not here)
        except (ValueError, httpx.InvalidURL) as error:
            raise Failed(f"{url[:200]!r} is no address: {error}.", UNREACHABLE) from None

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        """GET below /api/v1; parameters that are None are left out.

        Raises:
            Failed: see there.
        """
        return self._sent("GET", path, resend=True, params=_given(parameters))

    def post(
        self, path: str, body: Any = None, *, prefer: str | None = None, **parameters: Any
    ) -> httpx.Response:
        """POST under a key of its own; `prefer` is a header of RFC 7240."""
        headers = {"Idempotency-Key": secrets.token_hex(16)} | ({"Prefer": prefer} if prefer else {})
        return self._sent(
            "POST", path, resend=True, headers=headers, params=parameters or None, **_json(body)
        )

    def ask(self, path: str, body: Any, **parameters: Any) -> httpx.Response:
        """POST what is only a question: it changes nothing, and takes no key; parameters that are None are left out."""
        return self._sent("POST", path, resend=True, params=_given(parameters), json=body)

    def send(
        self, method: str, path: str, body: Any = None, *, if_match: str | None = None
    ) -> httpx.Response:
        """PUT, PATCH or DELETE."""
        headers = {} if if_match is None else {"If-Match": if_match}
        return self._sent(method, path, resend=False, headers=headers, **_json(body))

    def items(self, path: str, *, limit: int | None, **parameters: Any) -> Iterator[dict[str, Any]]:
        """A list from its beginning, at most `limit` items; None: all."""
        asked = _given(parameters)
        size = PAGE if limit is None else min(limit, PAGE)
        left = limit
        for page in self._pages(path, asked, size):
            some = page if left is None else page[:left]
            yield from some
            left = None if left is None else left - len(some)
            if left == 0:
                return

    def _pages(self, path: str, asked: dict[str, Any], size: int) -> Iterator[list[dict[str, Any]]]:
        answer = self.get(path, **asked, limit=size).json()
        yield answer["items"]
        while cursor := answer.get("next_cursor"):
            answer = self.get(path, **asked, limit=size, cursor=cursor).json()
            yield answer["items"]

    def _sent(self, method: str, path: str, *, resend: bool, **told: Any) -> httpx.Response:
        try:
            for attempt in tenacity.Retrying(
                stop=tenacity.stop_after_attempt(TRIES),
                wait=_wait_s,
                retry=tenacity.retry_if_exception_type(_Again),
                reraise=True,
            ):
                with attempt:
                    return self._once(method, path, resend, told)
        except _Again as again:
            raise again.failure from None
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, resend: bool, told: Mapping[str, Any]) -> httpx.Response:  # noqa: FBT001
        try:
            response = self.http.request(method, BASE + path, **told)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Again(Failed(f"{self.url} can't be reached: {error}.", UNREACHABLE)) from None
        except httpx.TransportError as error:
            said = f"{self.url} didn't answer: {error or type(error).__name__}."
            if not resend:
                raise Failed(f"{said} It may or may not be done: look first.", UNREACHABLE) from None
            raise _Again(Failed(said, UNREACHABLE)) from None
        except httpx.InvalidURL as error:
            raise Failed(f"{self.url} is no address: {error}.", UNREACHABLE) from None
        if response.status_code < _WRONG:
            return response
        problem = refused(response)
        if resend and response.status_code in _BUSY:
            raise _Again(problem, _seconds(response.headers.get("Retry-After")))
        raise problem


def _json(body: Any) -> dict[str, Any]:
    return {} if body is None else {"json": body}


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None


def _wait_s(state: tenacity.RetryCallState) -> float:
    """As long as the API asks for, else twice as long each time."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _Again) and error.after_s is not None:
        return min(error.after_s, LONGEST_WAIT_S)
    return float(FIRST_WAIT_S * 2 ** (state.attempt_number - 1))
