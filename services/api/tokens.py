"""JSON Web Tokens (RFC 7519): who they say somebody is, once signature, issuer, audience and times are checked.

A token's `alg` only chooses between keys that were given for it: HS256 is checked with DAYBOOK_SECRET_KEY and nothing
else, RS256 and ES256 with a public key of that kind from DAYBOOK_JWKS and nothing else. So a public key can't be used
as a secret, and there is no algorithm `none`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import jwt

from services.api.jwks import NoKey
from shared.domain import ids
from shared.domain.roles import ROLES, is_subject, is_tenant

if TYPE_CHECKING:
    from datetime import datetime

    from services.api.jwks import Jwks
    from services.api.principal import Principal
    from shared.domain.roles import Role

LEEWAY_S = 30
LASTS = timedelta(minutes=15)
SIZE_MAX = 8 * 1024
_NEEDED = ("sub", "tenant", "role", "iss", "aud", "exp")
_UNTIMED = {"require": list(_NEEDED), "verify_exp": False, "verify_nbf": False, "verify_iat": False}


class BadToken(ValueError):  # noqa: N818 - a finding
    """The token proves nothing; the message says why, for the log."""


class KeysAway(ConnectionError):  # noqa: N818 - a finding
    """The key set that the token must be checked with can't be read."""


class Claims(NamedTuple):
    """What a token says, checked; `key` is the hash of the API key that it was given for, or ''."""

    subject: str
    tenant: str
    role: Role
    key: str


class Tokens:
    """Checks tokens, and gives some out.

    Args:
        secret: for HS256; None: such tokens are refused.
        jwks: for RS256 and ES256; None likewise.
        issuer: that tokens must name.
        audience: likewise.
    """

    def __init__(self, *, secret: str | None, jwks: Jwks | None, issuer: str, audience: str) -> None:
        self._secret = secret
        self._jwks = jwks
        self._issuer = issuer
        self._audience = audience

    @property
    def can_issue(self) -> bool:
        """Whether there is a secret to sign with."""
        return self._secret is not None

    async def claims(self, text: str, now: datetime) -> Claims:
        """What the token says.

        Raises:
            BadToken: see there.
            KeysAway: see there.
        """
        if len(text) > SIZE_MAX:
            raise BadToken("larger than any token of ours")
        try:
            algorithm, key = await self._key(jwt.get_unverified_header(text))
            told = jwt.decode(
                text,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options=_UNTIMED,  # type: ignore[arg-type]
            )
        except (jwt.PyJWTError, NoKey, ValueError, TypeError, RecursionError) as error:
            raise BadToken(f"{type(error).__name__}: {error}") from None
        _check_times(told, ids.to_ms(now) / 1000)
        return _claims(told)

    def issue(self, principal: Principal, now: datetime) -> str:
        """A token for whoever has shown an API key; it opens nothing any more once the key doesn't."""
        seconds = ids.to_ms(now) // 1000
        told = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": principal.id,
            "tenant": principal.tenant,
            "role": principal.role,
            "iat": seconds,
            "exp": seconds + int(LASTS.total_seconds()),
            "key": principal.key_hash,
        }
        return jwt.encode(told, self._secret or "", algorithm="HS256")

    async def _key(self, header: dict[str, Any]) -> tuple[str, str | jwt.PyJWK]:
        match header.get("alg"):
            case "HS256" if self._secret is not None:
                return "HS256", self._secret
            case "RS256" | "ES256" as algorithm if self._jwks is not None:
                kid = header.get("kid", "")
                if not isinstance(kid, str):
                    raise BadToken("its key id is no text")
                return algorithm, await self._public(kid, algorithm)
            case other:
                raise BadToken(f"algorithm {str(other)[:20]!r} is not accepted")

    async def _public(self, kid: str, algorithm: str) -> jwt.PyJWK:
        assert self._jwks is not None  # noqa: S101 - asked by _key
        try:
            return await self._jwks.key(kid, algorithm)
        except (OSError, TimeoutError, httpx.HTTPError, ValueError) as error:
            raise KeysAway(f"the key set can't be read: {error}") from error


def _check_times(told: dict[str, Any], now_s: float) -> None:
    """By Redis's time, with a leeway for the issuer's clock.

    Raises:
        BadToken: it is not for now.
    """
    if now_s >= _seconds(told, "exp") + LEEWAY_S:
        raise BadToken("it has expired")
    for name in ("nbf", "iat"):
        if name in told and now_s < _seconds(told, name) - LEEWAY_S:
            raise BadToken(f"{name} is in the future")


def _seconds(told: dict[str, Any], name: str) -> float:
    value = told[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise BadToken(f"{name} is no time")
    return value


def _claims(told: dict[str, Any]) -> Claims:
    subject, tenant, role, key = told["sub"], told["tenant"], told["role"], told.get("key", "")
    if not isinstance(subject, str) or not is_subject(subject):
        raise BadToken("sub is not the name of anybody")
    if not isinstance(tenant, str) or not is_tenant(tenant):
        raise BadToken("tenant is no name")
    if role not in ROLES:
        raise BadToken("role is none of ours")
    if not isinstance(key, str):
        raise BadToken("key is no text")
    return Claims(subject, tenant, role, key)
