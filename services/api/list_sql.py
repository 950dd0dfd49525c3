"""The questions behind lists: SQL put together of fixed parts, as each choice of filters and order is one of its own.

One statement for all of them, with `$1 is null or …`, can't be planned well. Values are always arguments, and every
question names the tenants whose rows there are. Which index serves what stands in `0007_lists.sql`.

Null counts as later than any time, so one index serves both directions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.domain import ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

SPREAD = timedelta(hours=1)  # the times of a run lie within it, or it is_stretched
_OPERATORS = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}
_MS_MAX = (1 << 48) - 1  # of the time in an id


class Key(NamedTuple):
    """Where an item stands in an order: its value there (None: null, or ordered by id alone), and its id."""

    value: datetime | str | None
    id: str


class Range(NamedTuple):
    """A bound for one of the times: `operator` is gte, gt, lte or lt."""

    name: str
    operator: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a list is to have, and in which order.

    Attributes:
        equal: name of a filter → value.
        ranges: of times; all of them hold.
        order: name of one.
        descending: or ascending; by id where it leaves open.
    """

    equal: Mapping[str, Any] = field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    order: str
    descending: bool = True


class Order(NamedTuple):
    """By what a list can be ordered.

    Attributes:
        key: the column; None for the id alone.
        id: the column that decides where that leaves open.
        shown: `key` in a row of the answer.
        type: of the column.
        has_nulls: whether there are any.
    """

    key: str | None
    id: str
    shown: str
    type: str = "timestamptz"
    has_nulls: bool = False


class Source(NamedTuple):
    """What a list is of.

    Attributes:
        rows: what is selected.
        tables: alias → table, and how the tenant `{}` is told of it. What names one only is asked of that alone.
        joined: all of them.
        tenants: the question for all tenants there are.
        orders: by name.
        filters: name → condition, `{}` for the value.
        times: name → column, for ranges.
        named: what names a row of a part of the list (`{id}`: its id), and `found` what finds it by that.
        stretched: what is true of rows whose times lie apart; '' if that isn't known of this source.
    """

    rows: str
    tables: Mapping[str, tuple[str, str]]
    joined: str
    tenants: str
    orders: Mapping[str, Order]
    filters: Mapping[str, str]
    times: Mapping[str, str]
    named: str
    found: str
    stretched: str = ""


class Question(NamedTuple):
    """A statement and its arguments."""

    text: str
    arguments: list[Any]


RUNS = Source(
    rows="r.*",
    tables={"r": ("ledger.runs as r", "r.tenant = {}")},
    joined="ledger.runs as r",
    tenants="tenants_of_runs",
    orders={
        "id": Order(None, "r.id", "id"),
        "scheduled_for": Order("r.scheduled_for", "r.id", "scheduled_for"),
        "started_at": Order("r.started_at", "r.id", "started_at", has_nulls=True),
        "finished_at": Order("r.finished_at", "r.id", "finished_at", has_nulls=True),
    },
    filters={
        "job_id": "r.job_id = {}::uuid",
        "status": "r.status = {}::text",
        "job_type": "r.job_type = {}::text",
        "queue": "r.queue = {}::text",
        "trigger": "r.trigger = {}::text",
        "backfill": "r.backfill = {}::uuid",
        "error_class": "r.error_class = {}::text",
        "error_fingerprint": "r.error_fingerprint = {}::text",
        "ended": "(r.finished_at is not null) = {}::boolean",
    },
    times={
        "scheduled_for": "r.scheduled_for",
        "queued_at": "r.queued_at",
        "started_at": "r.started_at",
        "finished_at": "r.finished_at",
    },
    named="{id} as id, r.id_at as id_at",
    found="r.id = part.id and r.id_at = part.id_at",
    stretched="r.is_stretched",
)
JOBS = Source(
    rows="j.*",
    tables={
        "c": ("ledger.job_cards as c", "c.tenant = {}"),
        "j": ("ledger.jobs as j", "j.tenant = {} and j.status <> 'deleted'"),
    },
    joined="ledger.job_cards as c join ledger.jobs as j on j.id = c.job_id",
    tenants="tenants_of_jobs",
    orders={
        "created_at": Order("c.created_at", "c.job_id", "created_at"),
        "updated_at": Order("c.updated_at", "c.job_id", "updated_at"),
        "name": Order("c.name", "c.job_id", 'name collate "C"', type="text"),
        "next_run_time": Order("j.next_run_time", "j.id", "next_run_time", has_nulls=True),
    },
    filters={
        "status": "j.status = {}::text",
        "owner": "c.owner = {}::text",
        "facets": "c.facets @> {}::text[]",
        "q": "c.words @@ websearch_to_tsquery('simple', {}::text)",
    },
    times={"created_at": "c.created_at", "updated_at": "c.updated_at", "next_run_time": "j.next_run_time"},
    named="{id} as id",
    found="j.id = part.id",
)


def page(source: Source, choice: Choice, tenants: Sequence[str], *, limit: int, offset: int) -> Question:
    """The rows of a page."""
    return _Asked(source, choice, tenants).rows("all", None, limit, offset)


def following(
    source: Source, choice: Choice, tenants: Sequence[str], *, after: Key | None, limit: int
) -> Iterator[Question]:
    """The `limit` rows after a place: questions to be asked in turn until there are enough rows."""
    order = source.orders[choice.order]
    for part in _parts(order, choice, after):
        yield _Asked(source, choice, tenants).rows(part, after, limit, 0)


def count(source: Source, choice: Choice, tenants: Sequence[str], *, most: int) -> Question:
    """How many rows there are, counted up to `most`."""
    return _Asked(source, choice, tenants).counted(most)


def _parts(order: Order, choice: Choice, after: Key | None) -> tuple[str, ...]:
    """Which parts of the order follow a place: `after` it, the `nulls`, those with a `value`."""
    if after is None:
        return ("all",)
    if not order.has_nulls:
        return ("after",)
    if after.value is None:
        return ("after-null", "value") if choice.descending else ("after-null",)
    return ("after",) if choice.descending else ("after", "nulls")


class _Asked:
    """One question in the making."""

    def __init__(self, source: Source, choice: Choice, tenants: Sequence[str]) -> None:
        self._source, self._choice = source, choice
        self._order = source.orders[choice.order]
        self._arguments: list[Any] = []
        self._many = len(tenants) != 1
        self._direction = " desc" if choice.descending else ""
        if self._many:
            place = self._argument(list(tenants), "text[]")
            self._tenant = "theirs.tenant"
            self._each_tenant = f"unnest({place}) as theirs (tenant) cross join lateral "
        else:
            self._tenant = self._argument(tenants[0], "text")
            self._each_tenant = ""

    def rows(self, part: str, after: Key | None, limit: int, offset: int) -> Question:
        """The question for the rows of a part of the order."""
        order = self._order
        branches = [[*branch, *self._place(part, after)] for branch in self._branches(part)]
        most, skipped = self._argument(limit, "bigint"), self._argument(offset, "bigint")
        if len(branches) == 1 and not self._many:
            return self._question(self._selected(branches[0], f"limit {most} offset {skipped}"))
        texts = [f"({self._selected(branch, f'limit {most} + {skipped}')})" for branch in branches]
        keys = [order.shown, "id"] if order.key else ["id"]
        return self._question(
            f"select found.* from {self._each_tenant}({' union all '.join(texts)}) as found"
            f" order by {self._ordered(f'found.{key}' for key in keys)} limit {most} offset {skipped}"
        )

    def counted(self, most: int) -> Question:
        """The question for how many there are."""
        branches = self._branches("all")
        limit = self._argument(most, "bigint")
        texts = []
        for branch in branches:
            tables, where = self._from(branch, branch)
            texts.append(f"(select 1 as one from {tables} where {where} limit {limit})")
        return self._question(
            f"select count(*) from (select one from {self._each_tenant}({' union all '.join(texts)}) as found"
            f" limit {limit}) as counted"
        )

    def _selected(self, conditions: Sequence[str], limited: str) -> str:
        """Rows in their order. What an index or one table of two tells by itself is looked up for these rows only."""
        source, order = self._source, self._order
        is_far = source.stretched in conditions
        place = order.key or order.id
        if is_far and order.key:
            place += " + interval '0'"  # or the index of the order is walked, past nearly all that is in it
        tables, where = self._from(conditions, [*conditions, place])
        ordered = f"where {where} order by {self._ordered(dict.fromkeys((place, order.id)))} {limited}"
        alias, _, _ = source.rows.partition(".")
        if f" as {alias}" in tables and not is_far:
            return f"select {source.rows} from {tables} {ordered}"
        part = (
            f"(select {place} as place, {source.named.format(id=order.id)} from {tables} {ordered}) as part"
        )
        return (
            f"select {source.rows} from {part} join {source.tables[alias][0]} on {source.found}"
            f" order by {self._ordered(('part.place', 'part.id'))}"
        )

    def _from(self, conditions: Sequence[str], named: Sequence[str]) -> tuple[str, str]:
        """The tables that hold what is `named`, and where the conditions and the tenant hold."""
        tables = self._source.tables
        said = " ".join(named)
        used = [alias for alias in tables if f"{alias}." in said] or list(tables)[:1]
        text = tables[used[0]][0] if len(used) == 1 else self._source.joined
        told = [*(tables[alias][1].format(self._tenant) for alias in used), *conditions]
        return text, " and ".join(told)

    def _ordered(self, keys: Iterable[str]) -> str:
        return ", ".join(f"{key}{self._direction}" for key in keys)

    def _question(self, text: str) -> Question:
        return Question(text, self._arguments)

    def _argument(self, value: Any, type_: str = "") -> str:
        self._arguments.append(value)
        return f"${len(self._arguments)}" + (f"::{type_}" if type_ else "")

    def _place(self, part: str, after: Key | None) -> Iterator[str]:
        order = self._order
        sign = "<" if self._choice.descending else ">"
        if part in {"nulls", "after-null"}:
            yield f"{order.key} is null"
        if part == "value":
            yield f"{order.key} is not null"
        if part == "after-null" or (part == "after" and order.key is None):
            assert after is not None  # noqa: S101 - _parts
            yield f"{order.id} {sign} {self._argument(after.id, 'uuid')}"
        elif part == "after":
            assert after is not None  # noqa: S101 - _parts
            value, last = self._argument(after.value, order.type), self._argument(after.id, "uuid")
            yield f"({order.key}, {order.id}) {sign} ({value}, {last})"

    def _branches(self, part: str) -> list[list[str]]:
        """Conditions, of which one holds for each row wanted: more than one where the times of a row are told apart."""
        source, choice, order = self._source, self._choice, self._order
        chosen = [source.filters[name].format(self._argument(value)) for name, value in choice.equal.items()]
        for each in choice.ranges:
            bound = self._argument(each.at, "timestamptz")
            chosen.append(f"{source.times[each.name]} {_OPERATORS[each.operator]} {bound}")
        strange = [each for each in choice.ranges if source.times[each.name] != order.key]
        if not source.stretched or not strange:
            return [chosen]
        if part in {"nulls", "after-null"}:
            return [chosen]
        near = [*chosen, *self._near(strange), f"not ({source.stretched})"]
        far = [*chosen, source.stretched]
        if part != "all" or not order.has_nulls:
            return [near, far]
        return [near, far, [*chosen, f"{order.key} is null", f"not ({source.stretched})"]]

    def _near(self, ranges: Sequence[Range]) -> Iterator[str]:
        """Where the order's own time lies if all times of a row lie within SPREAD."""
        order = self._order
        lowest = [each.at for each in ranges if each.operator in {"gte", "gt"}]
        highest = [each.at for each in ranges if each.operator in {"lte", "lt"}]
        for bounds, sign, by in ((lowest, ">=", -SPREAD), (highest, "<=", SPREAD)):
            if not bounds:
                continue
            ms = ids.to_ms(max(bounds) if sign == ">=" else min(bounds)) + by // timedelta(milliseconds=1)
            ms = min(
                max(ms + (sign == "<="), 0), _MS_MAX
            )  # the next one: a bound may lie within a millisecond
            if order.key is None:
                yield f"{order.id} {sign} {self._argument(_id_at(ms, last=sign == '<='), 'uuid')}"
            else:
                yield f"{order.key} {sign} {self._argument(_time_at(ms), 'timestamptz')}"


def _id_at(ms: int, *, last: bool) -> str:
    """The lowest id of that time, or the highest."""
    text = f"{ms:012x}" + ("f" if last else "0") * 20
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def lowest_id(at: datetime) -> str:
    """The lowest id that one of that time, or a later one, can have."""
    return _id_at(max(0, -(-(at - ids.from_ms(0)) // timedelta(milliseconds=1))), last=False)


def _time_at(ms: int) -> datetime:
    return ids.from_ms(min(ms, _YEAR_9999_MS))


_YEAR_9999_MS = 253_402_300_799_000
