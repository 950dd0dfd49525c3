"""Lists: pages of a size with a total that is exact up to a bound, or slices that a cursor strings together."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import request

from services.api import answers, door, list_query, reads
from services.api.cursors import Cursors
from services.api.door import whole
from services.api.ledger import COUNTED_MAX
from services.api.list_query import SLICES, Wanted
from services.api.list_sql import Key
from services.api.problems import Fault, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import asyncpg
    from pydantic import BaseModel
    from quart import Response

    from services.api.deps import Deps
    from services.api.list_query import Shape

PARAMETERS = list_query.PAGES
PAGE_MAX = 50
SIZE_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a list: `number` from 1, `size` items each."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        """Items before it."""
        return (self.number - 1) * self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Which part of a list: at most `size` items after `after`, or the first ones."""

    after: Key | None
    size: int


class Lists:
    """The lists of jobs and of executions, and what all lists that have cursors need.

    Args:
        deps: of the application.
    """

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._cursors = Cursors(deps.settings.secret_key)

    async def answer(
        self,
        shape: Shape,
        shown: Callable[[asyncpg.Record], BaseModel],
        scope: Mapping[str, str] | None = None,
    ) -> Response:
        """The part of a list that the present request asks for.

        Args:
            shape: of the list.
            shown: makes an item of a row.
            scope: filters that the path sets.

        Raises:
            Problem: 409, 422, 503.
        """
        given = await reads.listed(self._deps, *shape.parameters)
        scope = scope or {}
        asked = {**given, **{name: [value] for name, value in scope.items()}}
        wanted = list_query.wanted(
            shape, asked, partitions=self._deps.log.partitions, scope=json.dumps(dict(scope))
        )
        part = self.part({name: values[0] for name, values in given.items()}, wanted.what_for)
        ledger = self._deps.ledger
        if isinstance(part, Page):
            found = await ledger.page(shape.source, wanted.choice, limit=part.size, offset=part.offset)
            return paged([item(shown(row), wanted) for row in found.rows], part, found.counted)
        rows = await ledger.following(shape.source, wanted.choice, after=part.after, limit=part.size + 1)
        order = shape.source.orders[wanted.choice.order]
        place = None
        if len(rows) > part.size:
            last = rows[part.size - 1]
            place = Key(last[wanted.choice.order] if order.key else None, str(last["id"]))
        items = [item(shown(row), wanted) for row in rows[: part.size]]
        return self.sliced(items, place, wanted.what_for)

    def part(self, given: Mapping[str, str], what_for: str) -> Page | Slice:
        """The page that the query asks for, or the slice if it has a cursor or a limit.

        Raises:
            Problem: 422.
        """
        slices = [name for name in SLICES if name in given]
        if not slices:
            return page_of(given, default_size=self._deps.settings.jobs_per_page)
        mixed = [name for name in PARAMETERS if name in given]
        if mixed:
            detail = f"goes with none of {', '.join(slices)}: page, or follow cursors"
            raise invalid(*(Fault(pointer=f"?{name}", detail=detail) for name in mixed))
        size = whole(
            given, "limit", self._deps.settings.jobs_per_page, most=SIZE_MAX, beyond="follow next_cursor"
        )
        cursor = given.get("cursor")
        return Slice(after=None if cursor is None else self._cursors.opened(cursor, what_for), size=size)

    def sliced(self, items: Sequence[str], place: Key | None, what_for: str) -> Response:
        """The answer with these items (JSON), which goes on after `place`, if at all."""
        cursor = None if place is None else self._cursors.sealed(place, what_for)
        size = request.args.get("limit", str(self._deps.settings.jobs_per_page))
        links = {"first": _link(cursor=None, limit=size)}
        if cursor is not None:
            links["next"] = _link(cursor=cursor)
        text = f'{{"items":[{",".join(items)}],"next_cursor":{json.dumps(cursor)}}}'
        return answers.answer(text, headers={"Link": _links(links)})


def page_of(given: Mapping[str, str], *, default_size: int) -> Page:
    """The page that the query asks for.

    Raises:
        Problem: 422.
    """
    return Page(
        number=whole(given, "page", 1, most=PAGE_MAX, beyond="use cursor"),
        size=whole(given, "per_page", default_size, most=SIZE_MAX, beyond="ask for more pages"),
    )


def paged(
    items: Sequence[str] | Sequence[BaseModel] | Sequence[dict[str, Any]], page: Page, counted: int
) -> Response:
    """The answer with these items (JSON, or what is written as such) of a page, of `counted` in all."""
    links = {"first": _link(page="1")}
    pages = max(1, -(-counted // page.size))
    if page.number > 1:
        links["prev"] = _link(page=str(min(page.number - 1, pages)))
    if page.number < min(pages, PAGE_MAX):
        links["next"] = _link(page=str(page.number + 1))
    if counted <= COUNTED_MAX and pages <= PAGE_MAX:
        links["last"] = _link(page=str(pages))
    return answers.answer(listed(items, page, counted), headers={"Link": _links(links)})


def listed(
    items: Sequence[str] | Sequence[BaseModel] | Sequence[dict[str, Any]], page: Page, counted: int
) -> str:
    """The JSON of a page."""
    rest = {
        "page": page.number,
        "per_page": page.size,
        "total": min(counted, COUNTED_MAX),
        "total_is_capped": counted > COUNTED_MAX,
    }
    return f'{{"items":[{",".join(map(text_of, items))}],{json.dumps(rest)[1:]}'


def text_of(item: str | BaseModel | dict[str, Any]) -> str:
    """An item as JSON; a text is that already."""
    match item:
        case str():
            return item
        case dict():
            return json.dumps(item)
        case _:
            return item.model_dump_json(by_alias=True)


def item(view: BaseModel, wanted: Wanted) -> str:
    """An item as JSON, with the fields that are wanted."""
    return view.model_dump_json(by_alias=True, include=None if wanted.fields is None else set(wanted.fields))


def _link(**changes: str | None) -> str:
    """The present request with other parameters (None: without); not for a position, which the client has reached."""
    dropped = {*changes, door.POSITION_PARAMETER}
    kept = [(name, value) for name, value in request.args.items(multi=True) if name not in dropped]
    more = [(name, value) for name, value in changes.items() if value is not None]
    return f"{request.path}?{urlencode([*kept, *more])}"


def _links(links: Mapping[str, str]) -> str:
    """The value of Link (RFC 8288)."""
    return ", ".join(f'<{where}>; rel="{relation}"' for relation, where in links.items())
