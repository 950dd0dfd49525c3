"""The formats of reports, one file each: `render(report)` gives the file's bytes, and its pages if it has any."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from shared.handlers import GiveUp

if TYPE_CHECKING:
    from services.executor.handlers.reports.report import Report
    from shared.job_types.report_generation import Format


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A file in memory; `pages` of formats that have them."""

    content: bytes
    pages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much of a table a format can hold: a page must be read, a spreadsheet opened."""

    rows: int
    columns: int


LIMITS: dict[Format, Limit] = {
    "pdf": Limit(rows=10_000, columns=14),  # 14 columns on A4 across are 19 mm each
    "html": Limit(rows=10_000, columns=100),
    "csv": Limit(rows=200_000, columns=1_000),
    "xlsx": Limit(rows=100_000, columns=1_000),
    "json": Limit(rows=200_000, columns=1_000),
}


class ReportTooLarge(GiveUp):
    """A table has more rows or columns than the format takes; the message says what to do."""


def render(report: Report, to: Format) -> Rendered:
    """The report as a file.

    Raises:
        ReportTooLarge: see LIMITS.
    """
    check(report, to)
    rendered: Rendered = import_module(f"{__name__}.as_{to}").render(report)
    return rendered


def check(report: Report, to: Format) -> None:
    """Refuse what the format can't hold; see `render`."""
    limit = LIMITS[to]
    for table in (section.table for section in report.sections):
        if len(table.rows) > limit.rows:
            raise ReportTooLarge(
                f"{table.title!r} has more than the {limit.rows:,} rows that a report as {to} takes: "
                "choose a shorter date_range, another template, or csv"
            )
        if len(table.columns) > limit.columns:
            raise ReportTooLarge(
                f"{table.title!r} has {len(table.columns)} columns, a report as {to} takes {limit.columns}: "
                "name fewer of them in columns, or choose csv"
            )
