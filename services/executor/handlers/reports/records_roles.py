"""Which column of a dataset says when, which ones are told apart, and which are added up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shared.handlers import GiveUp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.executor.datasets import Table
    from services.executor.handlers.reports.report import Kind
    from shared.job_types.report_generation import ReportGeneration

Clock = Literal["day", "wall", "instant"]
CLOCKS: dict[str, Clock] = {
    "DATE": "day",
    "TIMESTAMP": "wall",
    "TIMESTAMP_S": "wall",
    "TIMESTAMP_MS": "wall",
    "TIMESTAMP_NS": "wall",
    "TIMESTAMP WITH TIME ZONE": "instant",
}
_WHOLE = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)")
_BROKEN = re.compile(r"FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")
_NO_SUM = re.compile(r"(.*_)?(id|price|rate|ratio)", re.IGNORECASE)  # numbers whose sum means nothing


class UnfitColumn(GiveUp):
    """A column that the job names holds something else than it is named for."""


class NoDates(GiveUp):
    """The report is about a span of time, and its dataset has no column that says when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """The column that says when.

    Attributes:
        clock: it holds days, times on the wall of the job's zone, or instants.
    """

    name: str
    clock: Clock


def when_of(task: ReportGeneration, table: Table) -> When | None:
    """The column that says when; None if there is none.

    Raises:
        UnknownColumn: there is none of the name that the job gives.
        UnfitColumn: it holds no days and no times.
        NoDates: the job needs one.
    """
    name = task.date_column
    if name is not None:
        table.column(name)
        if (kind := table.columns[name]) not in CLOCKS:
            raise UnfitColumn(f"date_column {name!r} of {table.called} holds {kind}, not dates")
        return When(name=name, clock=CLOCKS[kind])
    found = next((name for name, kind in table.columns.items() if kind in CLOCKS), None)
    if found is not None:
        return When(name=found, clock=CLOCKS[table.columns[found]])
    if task.date_range not in {None, "all"} or task.template == "monthly_summary":
        raise NoDates(
            f"{table.called} has no column of dates ({_listed(table)}): its report takes no date_range but `all`, "
            "and no template monthly_summary"
        )
    return None


def measures_of(task: ReportGeneration, table: Table) -> list[str]:
    """The columns that are added up.

    Raises:
        UnknownColumn, UnfitColumn: likewise.
    """
    if task.columns is None:
        grouped = set(task.group_by or ())
        return [
            name
            for name, kind in table.columns.items()
            if is_numeric(kind) and name not in grouped and not _NO_SUM.fullmatch(name)
        ]
    for name in task.columns:
        table.column(name)
    numeric = [name for name in task.columns if is_numeric(table.columns[name])]
    if task.template != "detailed" and len(numeric) < len(task.columns):
        odd = next(name for name in task.columns if name not in numeric)
        raise UnfitColumn(f"{odd!r} of {table.called} holds {table.columns[odd]}, which can't be added up")
    return numeric


def words_in(table: Table) -> Iterable[str]:
    """The columns that hold words."""
    return (name for name, kind in table.columns.items() if kind == "VARCHAR" or kind.startswith("ENUM("))


def is_numeric(kind: str) -> bool:
    """Whether values of this type of duckdb's can be added up."""
    return bool(_WHOLE.fullmatch(kind) or _BROKEN.fullmatch(kind))


def is_whole(kind: str) -> bool:
    """Whether they are integers."""
    return _WHOLE.fullmatch(kind) is not None


def is_float(kind: str) -> bool:
    """Whether they are binary fractions, whose sum depends on their order."""
    return kind in {"FLOAT", "DOUBLE"}


def kind_of(kind: str) -> Kind:
    """How the values are shown."""
    if is_whole(kind):
        return "integer"
    if is_numeric(kind):
        return "number"
    if kind == "DATE":
        return "date"
    if kind in CLOCKS:
        return "datetime"
    return "boolean" if kind == "BOOLEAN" else "text"


def _listed(table: Table) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in list(table.columns.items())[:20])
