"""A report as a value: what it says, whatever the format it is written in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from services.executor.handlers.reports.periods import Period

Kind = Literal["text", "integer", "number", "ratio", "milliseconds", "date", "datetime", "boolean"]
Value = str | int | float | Decimal | date | datetime | bool | None
NUMERIC: frozenset[Kind] = frozenset({"integer", "number", "ratio", "milliseconds"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        name: what programs call it.
        kind: of all its values; a ratio is from 0 to 1. Any of them may be None: there is none.
        label: what people call it; the name, if it is empty.
    """

    name: str
    kind: Kind = "text"
    label: str = ""

    @property
    def heading(self) -> str:
        """What stands above the column."""
        return self.label or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number that stands for the whole."""

    name: str
    label: str
    kind: Kind
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns; each row has a value for each column."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Bars beside each other: for each category a number of each series."""

    title: str
    kind: Kind
    categories: tuple[str, ...]
    series: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A chapter: the chart first, if it has one, then the table of what it shows."""

    title: str
    table: Table
    chart: Chart | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report says.

    Attributes:
        subtitle: what it is about, in a line.
        period: of what time.
        scheduled_for: the nominal time of the run that made it: two attempts of it say the same.
        totals: of the whole period.
        sections: from the general to the particular; the last table is the one that a CSV file has.
    """

    title: str
    subtitle: str
    period: Period
    scheduled_for: datetime
    totals: tuple[Figure, ...]
    sections: tuple[Section, ...]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(len(section.table.rows) for section in self.sections)
