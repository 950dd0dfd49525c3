"""Events as CloudEvents: the story of a job and its runs, and all that has happened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from services.api import answers, door, event_filter, list_query, lists, reads, vectors
from services.api.ledger import Bounds
from services.api.list_sql import Key
from services.api.lists import Lists
from services.api.principal import wall
from services.api.problems import Fault, invalid
from shared.eventlog.envelope import cloudevent
from shared.eventlog.position import Position, format_places
from shared.recovery import recorded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg
    from quart import Quart, Response

    from services.api.deps import Deps
    from services.api.ledger import Horizon


class Events:
    """The routes about events."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._lists = Lists(deps)

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        app.add_url_rule(
            f"{answers.BASE}/jobs/<job_id>/events", "list_job_events", self.of_job, methods=["GET"]
        )
        app.add_url_rule(f"{answers.BASE}/events", "list_events", self.list, methods=["GET"])

    async def list(self) -> Response:
        """GET /events. `Daybook-Position` tells up to where it has looked: a stream can go on from there."""
        deps = self._deps
        given = await reads.query(deps, *event_filter.LIST, several=event_filter.REPEATABLE)
        chosen = event_filter.filter_of(given, partitions=deps.log.partitions)
        since, until = event_filter.times_of(given)
        newest_first = door.one_of(given, "sort", event_filter.ORDERS) != "time"
        limit = door.whole(
            given, "limit", deps.settings.jobs_per_page, most=lists.SIZE_MAX, beyond="use cursor"
        )
        after = await vectors.known_places(deps, given.get("after"), "?after")
        before = self._places(given, "before")
        cursor = self._places(given, "cursor")
        _no_two(given)
        horizon = await deps.ledger.horizon(since, until)
        bounds = [
            _narrowed(each, horizon[each], after, before, cursor, newest_first=newest_first)
            for each in sorted(horizon)
            if chosen.partition in {None, each}
        ]
        rows = await deps.ledger.events_chosen(
            chosen, bounds, newest_first=newest_first, limit=limit + 1, since=since, until=until
        )
        page = rows[:limit]
        told = {
            "items": [cloudevent(recorded(row), prefix=deps.log.prefix) for row in page],
            "next_cursor": _next(page, bounds, horizon, newest_first=newest_first)
            if len(rows) > limit
            else None,
        }
        position = vectors.told(vectors.marks(horizon, deps.log.partitions))
        return answers.answer(json.dumps(told), headers={door.POSITION_HEADER: position})

    def _places(self, given: Mapping[str, str], name: str) -> dict[int, Position]:
        return vectors.places(given.get(name), f"?{name}", partitions=self._deps.log.partitions)

    async def of_job(self, job_id: str) -> Response:
        """GET /jobs/{id}/events, newest first; a deleted job's stay readable."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        given = await reads.query(self._deps, *list_query.PAGES, *list_query.SLICES)
        what_for = f"list_job_events {job_id} {wall()}"
        part = self._lists.part(given, what_for)
        ledger = self._deps.ledger
        if isinstance(part, lists.Page):
            found = await ledger.events(job_id, limit=part.size, offset=part.offset)
        else:
            before = part.after and int(part.after.id)
            found = await ledger.events(job_id, limit=part.size + 1, before=before)
        if not found.counted and not await ledger.job_exists(job_id):
            raise door.no_such("job")
        items = [cloudevent(recorded(row), prefix=self._deps.log.prefix) for row in found.rows[: part.size]]
        if isinstance(part, lists.Page):
            return lists.paged(items, part, found.counted)
        place = Key(None, str(found.rows[part.size - 1]["pos"])) if len(found.rows) > part.size else None
        return self._lists.sliced([json.dumps(item) for item in items], place, what_for)


def _no_two(given: Mapping[str, str]) -> None:
    """Refuse two bounds on one side: one of them would be passed over.

    Raises:
        Problem: 422.
    """
    for one, other in (("time[gte]", "time[gt]"), ("time[lte]", "time[lt]")):
        if one in given and other in given:
            raise invalid(Fault(pointer=f"?{one}", detail=f"stands beside {other}: send one of them"))


def _narrowed(
    partition: int,
    horizon: Horizon,
    after: Mapping[int, Position],
    before: Mapping[int, Position],
    cursor: Mapping[int, Position],
    *,
    newest_first: bool,
) -> Bounds:
    """Where in a partition to look: between all that bounds it. A partition that a vector doesn't name, it doesn't."""
    above, below = [horizon.before_since or 0], [horizon.mark.pos + 1]
    if partition in after:
        above.append(after[partition].pos)
    if partition in before:
        below.append(before[partition].pos)
    if partition in cursor:
        (below if newest_first else above).append(cursor[partition].pos)
    if horizon.before_until is not None:
        below.append(horizon.before_until + 1)
    return Bounds(partition, max(above), min(below))


def _next(
    page: Sequence[asyncpg.Record],
    bounds: Sequence[Bounds],
    horizon: Mapping[int, Horizon],
    *,
    newest_first: bool,
) -> str:
    """Where the next page begins: after the last event of each partition, where there was none as before."""
    reached = {
        each.partition: Position(
            horizon[each.partition].mark.epoch, each.below if newest_first else each.above
        )
        for each in bounds
    }
    reached |= {row["partition"]: Position(row["epoch"], row["pos"]) for row in page}
    return format_places(reached)
