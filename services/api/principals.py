"""Who does how much: requests as they were counted, changes as the archive has them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from services.api import answers, door, reads
from services.api.principal import wall
from services.api.problems import Fault, invalid
from services.api.responses import PrincipalsView, PrincipalView

if TYPE_CHECKING:
    from quart import Quart, Response

    from services.api.deps import Deps

SPAN = timedelta(days=1)
SPAN_MAX = timedelta(days=7)  # requests are counted for a day longer
LISTED, LISTED_MAX = 100, 1_000
_CHANGERS_MAX = 10_000  # looked at, to find those with most of either


class Principals:
    """The route under /api/v1/stats that is about principals."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def mount(self, app: Quart) -> None:
        """Add the route."""
        path = f"{answers.BASE}/stats/principals"
        app.add_url_rule(path, "list_principals", self.list, methods=["GET"])

    async def list(self) -> Response:
        """GET /stats/principals."""
        given = await reads.query(self._deps, "from", "to", "limit")
        until = door.moment(given, "to") or self._deps.log.now()
        since = door.moment(given, "from") or until - SPAN
        if not since < until <= since + SPAN_MAX:
            detail = f"is before ?to, and at most {SPAN_MAX.days} days"
            raise invalid(Fault(pointer="?from", detail=detail))
        most = door.whole(given, "limit", LISTED, most=LISTED_MAX, beyond="narrow the time")
        requests, changes = await asyncio.gather(
            self._deps.usage.counted(since, until, wall()),
            self._deps.ledger.principals(since=since, until=until, limit=_CHANGERS_MAX),
        )
        by_actor = {row["actor"]: row for row in changes}
        views = [
            PrincipalView(
                principal=who,
                requests=requests[who],
                changes=by_actor[who]["changes"] if who in by_actor else 0,
                last_change_at=by_actor[who]["last_at"] if who in by_actor else None,
            )
            for who in requests.keys() | by_actor
        ]
        views.sort(key=lambda view: (-view.changes, -view.requests, view.principal))
        return answers.answer(
            PrincipalsView(since=since, until=until, items=views[:most], more=len(views) > most)
        )
