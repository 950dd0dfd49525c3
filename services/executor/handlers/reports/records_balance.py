"""A financial report's way of adding up: what came in and what went out are columns of their own, and the result."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from services.executor.handlers.reports.report import Chart, Column, Figure, Section, Table

if TYPE_CHECKING:
    from services.executor.handlers.reports.records_questions import Rows
    from services.executor.handlers.reports.report import Value

CATEGORY = "category"  # the column that says which of them a record is
IN, OUT = "income", "expense"
Number = int | float | Decimal


def totals(rows: Rows) -> tuple[Figure, ...]:
    """What came in, what went out, and the result.

    Args:
        rows: category, number of records, sum; one of each category.
    """
    sums = {str(category): _number(total) for category, _, total in rows}
    return tuple(
        Figure(name=name, label=name.capitalize(), kind="number", value=value)
        for name, value in _with_result(sums).items()
    )


def by_time(rows: Rows, time: Column) -> Section:
    """A row for each time, a column for each category.

    Args:
        rows: time, category, number of records, sum.
        time: the first column.
    """
    times: dict[Value, dict[str, Number]] = {}
    for at, category, _, total in rows:
        times.setdefault(at, {IN: 0, OUT: 0})[str(category)] = _number(total)
    title = f"By {time.name}"
    columns = (
        time,
        *(Column(name=name, kind="number", label=name.capitalize()) for name in (IN, OUT, "result")),
    )
    made = [(at, _with_result(sums)) for at, sums in times.items()]
    table = Table(
        name=time.name,
        title=title,
        columns=columns,
        rows=tuple((at, *(sums[column.name] for column in columns[1:])) for at, sums in made),
    )
    chart = Chart(
        title=f"Income and expense by {time.name}",
        kind="number",
        categories=tuple(str(at) for at, _ in made),
        series=tuple((name, tuple(float(sums[name]) for _, sums in made)) for name in (IN, OUT)),
    )
    return Section(title=title, table=table, chart=chart)


def _with_result(sums: dict[str, Number]) -> dict[str, Number]:
    """Both, and what is left; what went out may be written with a minus before it."""
    came, went = sums.get(IN, 0), sums.get(OUT, 0)
    left = Decimal(str(came)) - abs(Decimal(str(went)))
    return {IN: came, OUT: went, "result": left}


def _number(value: Value) -> Number:
    return value if isinstance(value, int | float | Decimal) else 0
