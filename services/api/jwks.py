"""Public keys that others sign tokens with (RFC 7517): read from a file or an address, kept, and read again."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jwt

from shared import logs

if TYPE_CHECKING:
    from shared.clock import Clock

KEPT_S = 600.0  # a key that its issuer has withdrawn is not believed for longer
ASK_AGAIN_S = 30.0  # whoever sends unknown key ids must not make us ask for each
ANSWER_S = 5.0
SIZE_MAX = 256 * 1024
KEYS_MAX = 100
RSA_BITS_MIN = 2048
_KINDS = {"RS256": "RSA", "ES256": "EC"}


class NoKey(LookupError):  # noqa: N818 - a finding
    """No key of this id signs by this algorithm."""


class Jwks:
    """The key set at `source`, a path or an https:// address.

    Args:
        source: see there.
        clock: measures how old the set is.
    """

    def __init__(self, source: str, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._keys: dict[str, dict[str, Any]] = {}
        self._read_at = self._asked_at = -math.inf
        self._asking = asyncio.Lock()

    async def key(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """The public key `kid`, if it is for `algorithm`.

        Raises:
            NoKey: see there.
            OSError: the set was never read, and can't be; likewise httpx.HTTPError, ValueError.
        """
        if kid not in self._keys or self._clock.monotonic() - self._read_at > KEPT_S:
            await self._refresh()
        found = self._keys.get(kid)
        if found is None or not _fits(found, algorithm):
            raise NoKey(f"no key {kid[:80]!r} for {algorithm}")
        try:
            made = jwt.PyJWK(found, algorithm=algorithm)
        except jwt.PyJWTError as error:
            raise NoKey(f"key {kid[:80]!r} can't be read: {error}") from None
        if algorithm == "RS256" and made.key.key_size < RSA_BITS_MIN:
            raise NoKey(f"key {kid[:80]!r} is shorter than {RSA_BITS_MIN} bits")
        return made

    async def _refresh(self) -> None:
        """Read the set again, unless that was tried just now."""
        async with self._asking:
            if self._clock.monotonic() - self._asked_at < ASK_AGAIN_S:
                return
            self._asked_at = self._clock.monotonic()
            try:
                keys = parsed(await self._text())
            except (OSError, httpx.HTTPError, ValueError) as error:
                if self._clock.monotonic() - self._read_at > KEPT_S:
                    self._keys = {}
                    self._asked_at = -math.inf  # there is nothing to go on with
                    raise
                logs.get("daybook.api").warning("the key set can't be read", finding=str(error)[:500])
                return
            self._keys, self._read_at = keys, self._clock.monotonic()

    async def _text(self) -> bytes:
        if not self._source.startswith(("https://", "http://")):
            return await asyncio.to_thread(Path(self._source).read_bytes)
        chunks: list[bytes] = []
        async with (
            asyncio.timeout(ANSWER_S),
            httpx.AsyncClient(timeout=ANSWER_S, follow_redirects=False) as client,
            client.stream("GET", self._source) as answer,
        ):
            answer.raise_for_status()
            async for chunk in answer.aiter_bytes():
                chunks.append(chunk)
                if sum(map(len, chunks)) > SIZE_MAX:
                    raise ValueError(f"the key set is larger than {SIZE_MAX} bytes")
        return b"".join(chunks)


def parsed(text: bytes) -> dict[str, dict[str, Any]]:
    """Key id → key, of a key set's JSON; only public keys for signatures are of use, and one without an id is ''.

    Raises:
        ValueError: it is no key set.
    """
    try:
        tree = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    keys = tree.get("keys") if isinstance(tree, dict) else None
    if not isinstance(keys, list) or len(keys) > KEYS_MAX:
        raise ValueError(f"not a key set of at most {KEYS_MAX} keys")
    return {
        str(key.get("kid", "")): key
        for key in keys
        if isinstance(key, dict) and key.get("kty") in _KINDS.values() and key.get("use", "sig") == "sig"
    }


def _fits(key: dict[str, Any], algorithm: str) -> bool:
    """Whether a key may check signatures of `algorithm`: its kind decides, never the token alone."""
    if key.get("kty") != _KINDS.get(algorithm) or key.get("alg", algorithm) != algorithm:
        return False
    return algorithm != "ES256" or key.get("crv") == "P-256"
