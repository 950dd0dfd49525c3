"""Who sends a request, and whether they may: asked once, before anything is done.

A key is looked up in Redis at every request and nowhere kept: one that was revoked opens nothing from the next request
on, and a token that was given for it neither. What a route needs stands in `operations`, and is enforced from there: a
route that isn't there needs an admin.
"""

from __future__ import annotations

import contextlib
import hmac
import math
from typing import TYPE_CHECKING, NoReturn

from quart import request
from redis.exceptions import OutOfMemoryError

from services.api import clients, door
from services.api.jwks import Jwks
from services.api.operations import OPERATIONS
from services.api.principal import ANONYMOUS, Principal
from services.api.problems import Problem, unavailable
from services.api.tokens import BadToken, KeysAway, Tokens
from shared import logs
from shared.domain import apikey, ids
from shared.domain.apikey import ApiKey
from shared.domain.roles import allows
from shared.eventlog.limiter import Limiters
from shared.eventlog.snapshot import NewerShape
from shared.rate import Rate

if TYPE_CHECKING:
    from services.api.deps import Deps
    from shared.domain.roles import Role

PAGES = frozenset(
    {"openapi", "docs_redirect", "docs", "docs_file"}
)  # the document, for machines and for people
USED_EVERY_MS = 60_000
USED_KEPT_MS = 90 * 24 * 3600 * 1000
USED_MAX = 10_000  # keys that a process remembers having noted
FAILURES = Rate(30, 60)  # an address may fail 30 times at once, and then every 2 s
_REALM = 'Bearer realm="daybook"'
_NEEDED: dict[str, Role | None] = dict.fromkeys(PAGES) | {each.name: each.role for each in OPERATIONS}


def needed(endpoint: str | None, *, open_metrics: bool) -> Role | None:
    """The least role that may use a route; None: anybody may."""
    if endpoint == "metrics":
        return None if open_metrics else "viewer"
    return _NEEDED.get(endpoint or "", "admin")


class Unproven(Exception):  # noqa: N818 - a finding
    """What was shown opens nothing; `reason` is the metric's label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Auth:
    """Lets requests in, or not."""

    def __init__(self, deps: Deps) -> None:
        settings = deps.settings
        self._deps = deps
        self._is_on = settings.auth == "on"
        self._open_metrics = settings.metrics_open == "on"
        self._limiters = Limiters(deps.log)
        self._noted: dict[str, int] = {}
        secret = settings.secret_key
        self.tokens = Tokens(
            secret=None if secret is None else secret.get_secret_value(),
            jwks=None if settings.jwks is None else Jwks(settings.jwks, deps.clock),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )

    async def admitted(self) -> Principal:
        """Who sends the present request, if they may.

        Raises:
            Problem: 401, 403, 429, or 503 if it can't be found out.
        """
        if not self._is_on or request.url_rule is None:  # what isn't there is 404 or 405 to anybody
            return ANONYMOUS
        least = needed(request.endpoint, open_metrics=self._open_metrics)
        if least is None:
            return ANONYMOUS
        principal = await self._principal()
        if not allows(principal.role, least):
            self._deps.metrics.auth_failures_total.labels("role").inc()
            raise Problem("forbidden", f"This needs the role {least}; yours is {principal.role}.")
        return principal

    def shown(self) -> str | None:
        """What the present request, which was admitted, has shown; None if auth is off."""
        return self._credential() if self._is_on else None

    async def still_opens(self, credential: str) -> bool:
        """Whether what a stream was opened with would open it now; it may be asked outside of a request.

        Raises:
            Exception: it can't be found out.
        """
        try:
            await self._proven(credential)
        except Unproven:
            return False
        return True

    async def _principal(self) -> Principal:
        try:
            return await self._proven(self._credential())
        except Unproven as finding:
            await self._fail(finding.reason)
        except NewerShape:
            raise unavailable("The key was last written by a newer version of Daybook.") from None
        except KeysAway as error:
            logs.get("daybook.api").warning("tokens can't be checked", finding=str(error)[:500])
            raise unavailable("The keys that tokens are checked with can't be read.") from None

    async def _proven(self, credential: str) -> Principal:
        """Who shows this.

        Raises:
            Unproven: nobody.
        """
        if credential.startswith(apikey.BEGINS):
            return await self._of_key(credential)
        return await self._of_token(credential)

    def _credential(self) -> str:
        """What the request brings along, an API key or a token.

        Raises:
            Problem: 401.
        """
        scheme, _, bearer = (door.first("Authorization") or "").partition(" ")
        key = door.first("X-API-Key") or ""
        if not scheme and not key:
            self._count("missing")
            detail = "Send an API key or a token: Authorization: Bearer …, or X-API-Key: dbk_…"
            raise Problem("unauthorized", detail, headers={"WWW-Authenticate": _REALM})
        if scheme and (key or scheme.lower() != "bearer"):
            self._count("malformed")
            detail = "Send one of Authorization: Bearer … and X-API-Key."
            raise Problem("unauthorized", detail, headers={"WWW-Authenticate": _REALM})
        return key or bearer.strip()

    async def _of_key(self, text: str) -> Principal:
        key = await self._live(apikey.digest(text))
        await self._note_use(key.hash)
        return Principal(id=key.owner, tenant=key.tenant, role=key.role, kind="key", key_hash=key.hash)

    async def _of_token(self, text: str) -> Principal:
        try:
            claims = await self.tokens.claims(text, self._deps.log.now())
        except BadToken as error:
            logs.get("daybook.api").info("token refused", finding=str(error)[:500])
            raise Unproven("token") from None
        if claims.key:
            await self._live(claims.key)
        return Principal(id=claims.subject, tenant=claims.tenant, role=claims.role, kind="token")

    async def _live(self, key_hash: str) -> ApiKey:
        """The key of this hash, as Redis has it now.

        Raises:
            Unproven: it opens nothing.
        """
        log, ref = self._deps.log, f"apikey:{key_hash}"
        key = (await log.load(ref))[ref].state
        if not isinstance(key, ApiKey) or not hmac.compare_digest(key.hash, key_hash):
            raise Unproven("unknown")
        if not key.opens_at(log.now()):
            raise Unproven("revoked" if key.revoked else "expired")
        return key

    async def _note_use(self, key_hash: str) -> None:
        """When a key was used last, to the minute: not worth an event, nor a write for each request."""
        log = self._deps.log
        now_ms = ids.to_ms(log.now())
        if now_ms - self._noted.get(key_hash, 0) < USED_EVERY_MS:
            return
        if len(self._noted) >= USED_MAX:
            self._noted.clear()
        self._noted[key_hash] = now_ms
        name = log.keys(apikey.partition_of(key_hash, log.partitions)).used(key_hash)
        with contextlib.suppress(OutOfMemoryError):  # a full Redis must still let in whoever ends work
            await log.wire.replies(("SET", name, str(now_ms), "PX", str(USED_KEPT_MS)))

    async def _fail(self, reason: str) -> NoReturn:
        """Refuse, and count it against the address.

        Raises:
            Problem: always.
        """
        self._count(reason)
        client = clients.present(self._deps.settings.trusted_proxies)
        grant = await self._limiters.take("attempts", client.network, FAILURES)
        if grant.wait_s > 0:
            self._count("limited")
            wait_s = math.ceil(grant.wait_s)
            detail = f"Too many attempts have failed from {client.address}; try again in {wait_s} s."
            raise Problem("too-many-attempts", detail, headers={"Retry-After": str(wait_s)})
        challenge = f'{_REALM}, error="invalid_token"'
        detail = "This key or token is unknown, expired or revoked; ask an admin for another."
        raise Problem("unauthorized", detail, headers={"WWW-Authenticate": challenge})

    def _count(self, reason: str) -> None:
        self._deps.metrics.auth_failures_total.labels(reason).inc()
