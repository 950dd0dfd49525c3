"""What a report asks of a dataset, as SQL of duckdb: names of columns are quoted, values are parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from services.executor.datasets import quoted
from services.executor.handlers.reports.records_roles import is_float

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from zoneinfo import ZoneInfo

    from duckdb import DuckDBPyConnection

    from services.executor.datasets import Table
    from services.executor.handlers.reports.periods import Period
    from services.executor.handlers.reports.records_roles import When
    from services.executor.handlers.reports.report import Value

Rows = tuple[tuple["Value", ...], ...]
GROUPS_MAX = 50  # different words in a column that is told apart by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Asks about those records of a table that are in the period.

    Attributes:
        when: None: all records are in it.
        rows_max: no answer has more rows than one more than this.
    """

    connection: DuckDBPyConnection
    table: Table
    when: When | None
    period: Period
    rows_max: int

    def sums(self, keys: Sequence[str], measures: Sequence[str]) -> Rows:
        """Keys, number of records and sums, for each group in the order of its keys; without keys, one row.

        Args:
            keys: names of columns, or `DAY` or `MONTH`.
            measures: names of columns.
        """
        by = [self._key(key) for key in keys]
        asked = [*(sql for sql, _ in by), "count(*)", *(self._sum(name) for name in measures)]
        order = ", ".join(f"{at} NULLS LAST" for at in range(1, len(by) + 1))
        grouped = (
            f"GROUP BY {', '.join(str(at) for at in range(1, len(by) + 1))} ORDER BY {order}" if by else ""
        )
        rows = self._ask(", ".join(asked), grouped, [value for _, values in by for value in values])
        return tuple((*row[: len(by)], *map(_digits, row[len(by) :])) for row in rows)

    def records(self, columns: Sequence[str]) -> Rows:
        """The records themselves, in the order of their time, else in that of the dataset."""
        order = "" if self.when is None else f"ORDER BY {quoted(self.when.name)} NULLS LAST"
        return self._ask(", ".join(self.table.column(name) for name in columns), order, [])

    def few_words(self, columns: Iterable[str]) -> str | None:
        """The first of these columns that has at least one and at most GROUPS_MAX different values."""
        for name in columns:
            ((different,),) = self._ask(f"count(DISTINCT {quoted(name)})", "", [])
            if isinstance(different, int) and 1 <= different <= GROUPS_MAX:
                return name
        return None

    def _ask(self, asked: str, ending: str, before: list[Any]) -> Rows:
        where, values = self._where()
        sql = f"SELECT {asked} FROM {quoted(self.table.name)} {where} {ending} LIMIT {self.rows_max + 1}"  # noqa: S608
        found = self.connection.execute(sql, [*before, *values]).fetchall()
        zone = self.period.zone
        return tuple(tuple(_value(each, zone) for each in row) for row in found)

    def _key(self, key: str) -> tuple[str, list[Any]]:
        """The key as SQL, and its parameters."""
        if key not in {DAY, MONTH}:
            return self.table.column(key), []
        assert self.when is not None  # noqa: S101 - who asks for days has looked
        column = quoted(self.when.name)
        values: list[Any] = []
        if self.when.clock == "instant":
            column, values = f"timezone(?, {column})", [self.period.timezone]
        day = f"CAST({column} AS DATE)"
        return (day if key == DAY else f"strftime({day}, '%Y-%m')"), values

    def _sum(self, name: str) -> str:
        """Binary fractions are added up with what is lost kept aside: in whatever order, the same."""
        return f"{'fsum' if is_float(self.table.columns[name]) else 'sum'}({self.table.column(name)})"

    def _where(self) -> tuple[str, list[Any]]:
        if self.when is None or self.period.start is None or self.period.end is None:
            return "", []
        column = quoted(self.when.name)
        match self.when.clock:
            case "day":
                return f"WHERE {column} BETWEEN ? AND ?", [self.period.first_day, self.period.last_day]
            case "wall":
                walls = [each.replace(tzinfo=None) for each in (self.period.start, self.period.end)]
                return f"WHERE {column} >= ? AND {column} < ?", walls
            case "instant":
                instants = [each.astimezone(UTC) for each in (self.period.start, self.period.end)]
                return f"WHERE {column} >= ? AND {column} < ?", instants


def _digits(value: Value) -> Value:
    """A sum of binary fractions to the 15 digits that such a number holds: 0.3, not 0.30000000000000004."""
    return float(f"{value:.15g}") if isinstance(value, float) else value


DAY, MONTH = "\0day", "\0month"  # no column has such a name


def _value(value: Any, zone: ZoneInfo) -> Value:
    match value:
        case float() if not math.isfinite(value):
            return None
        case datetime() if value.tzinfo is not None:
            return value.astimezone(zone)
        case None | bool() | int() | float() | Decimal() | str() | date():
            return value
        case _:
            return str(value)
