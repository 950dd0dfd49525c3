"""How often somebody may ask: counted in Redis, so that all API processes count as one.

Where Redis doesn't answer, requests pass uncounted: reads need only
Postgres, and writes fail by themselves. Attempts to authenticate that failed are counted likewise, but refused then.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from quart import g
from redis.exceptions import RedisError

from services.api import clients
from services.api.principal import ANONYMOUS
from services.api.problems import Problem
from shared import logs
from shared.eventlog.limiter import Limiters
from shared.faults import is_broken

if TYPE_CHECKING:
    from services.api.deps import Deps
    from services.api.principal import Principal
    from shared.eventlog.limiter import Grant
    from shared.rate import Rate

ANSWER_S = 2.0  # for Redis; less, and a flood that keeps this process busy would open the gate for itself
BLIND_S = 1.0  # that requests pass uncounted before one of them asks Redis again
TOLD_EVERY_S = 10.0
EXEMPT = frozenset(
    {"livez", "readyz", "health", "metrics"}
)  # whoever watches must see most when much is asked


class Limits:
    """The limits of requests, by address and by principal; there are none where auth is off."""

    def __init__(self, deps: Deps) -> None:
        settings = deps.settings
        self._deps = deps
        self._limiters = Limiters(deps.log)
        self._is_on = settings.auth == "on"
        self._by_address, self._by_principal = settings.rate_limit_per_address, settings.rate_limit
        self._blind_until = self._told_at = -math.inf
        self._is_blind = False
        self._untold = 0

    def told(self) -> dict[str, str]:
        """Headers that say how much the present request has left of its limit."""
        return g.get("limits", {}) if self._is_on else {}

    async def of_address(self, endpoint: str | None) -> None:
        """Count the present request against where it is from.

        Raises:
            Problem: 429.
        """
        if self._is_on and self._by_address.most and endpoint not in EXEMPT:
            client = clients.present(self._deps.settings.trusted_proxies)
            await self._asked("address", client.network, self._by_address)

    async def of_principal(self, principal: Principal) -> None:
        """Count the present request against whoever sends it, whichever key or token they use.

        Raises:
            Problem: 429.
        """
        if self._by_principal.most and principal is not ANONYMOUS:
            await self._asked("principal", f"{principal.tenant} {principal.id}", self._by_principal)

    async def _asked(self, kind: str, who: str, rate: Rate) -> None:
        grant = await self._granted(kind, who, rate)
        if grant is None:
            return
        if grant.wait_s <= 0:
            g.limits = _headers(grant)
            return
        self._deps.metrics.requests_limited_total.labels(kind).inc()
        self._tell(kind)
        wait_s = math.ceil(grant.wait_s)
        detail = f"This {kind} may send {rate.most} requests in {rate.window_s} s; try again in {wait_s} s."
        raise Problem("too-many-requests", detail, headers=_headers(grant) | {"Retry-After": str(wait_s)})

    async def _granted(self, kind: str, who: str, rate: Rate) -> Grant | None:
        """What the limiter says; None where Redis doesn't answer."""
        now_s = self._deps.clock.monotonic()
        if now_s < self._blind_until:
            self._deps.metrics.requests_unlimited_total.inc()
            return None
        if self._is_blind:
            self._blind_until = now_s + ANSWER_S  # for others, while this one finds out
        try:
            async with asyncio.timeout(ANSWER_S):
                grant = await self._limiters.take(kind, who, rate)
        except Exception as error:
            if not (is_broken(error) or isinstance(error, RedisError)):
                raise
            self._deps.metrics.requests_unlimited_total.inc()
            self._blind_until = self._deps.clock.monotonic() + BLIND_S
            if not self._is_blind:
                finding = f"{type(error).__name__}: {error}"
                logs.get("daybook.api").warning("requests pass uncounted", finding=finding)
            self._is_blind = True
            return None
        self._is_blind, self._blind_until = False, -math.inf
        return grant

    def _tell(self, kind: str) -> None:
        """One line for a flood, not one for each drop."""
        self._untold += 1
        now_s = self._deps.clock.monotonic()
        if now_s - self._told_at < TOLD_EVERY_S:
            return
        address = clients.present(self._deps.settings.trusted_proxies).address
        logs.get("daybook.api").warning("requests limited", by=kind, address=address, count=self._untold)
        self._told_at, self._untold = now_s, 0


def _headers(grant: Grant) -> dict[str, str]:
    """As draft-ietf-httpapi-ratelimit-headers-07 has them, which clients know."""
    rate = grant.rate
    return {
        "RateLimit-Limit": str(rate.most),
        "RateLimit-Remaining": str(grant.left),
        "RateLimit-Reset": str(math.ceil(grant.full_s)),
        "RateLimit-Policy": f"{rate.most};w={rate.window_s}",
    }
