"""A report as a workbook: a sheet of totals, then one a section, cells typed, the header frozen, a chart beside.

No cell is a formula: text that looks like one is written as text, and marked as quoted, so that it stays text when
somebody edits it.
"""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from openpyxl import Workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from services.executor.handlers.reports.shown import clean
from services.executor.handlers.reports.writers import Rendered

if TYPE_CHECKING:
    from openpyxl.cell.cell import Cell
    from openpyxl.worksheet.worksheet import Worksheet

    from services.executor.handlers.reports.report import Kind, Report, Section, Table, Value

NUMBER_FORMATS: dict[Kind, str] = {
    "integer": "#,##0",
    "number": "#,##0.00",
    "ratio": "0.0%",
    "milliseconds": "#,##0",
    "date": "yyyy-mm-dd",
    "datetime": "yyyy-mm-dd hh:mm:ss",
}
TEXT_MAX = 32_767  # characters in a cell, Excel's limit
WIDTHS = (10, 50)  # of columns, in characters
_NOT_IN_A_SHEETS_NAME = re.compile(r"[\[\]:*?/\\']")


def render(report: Report) -> Rendered:
    """The workbook; its creation time is the run's nominal time."""
    book = Workbook()
    book.properties.title = clean(report.title)
    book.properties.creator = "Daybook"
    book.properties.created = report.scheduled_for.astimezone(UTC).replace(tzinfo=None)
    _write_totals(book.active, report)
    for section in report.sections:
        _write_section(book, section)
    file = io.BytesIO()
    book.save(file)
    return Rendered(content=file.getvalue())


def _write_totals(sheet: Worksheet, report: Report) -> None:
    sheet.title = "Summary"
    _write(sheet.cell(1, 1), report.title, "text").font = Font(bold=True, size=14)
    _write(sheet.cell(2, 1), report.subtitle, "text")
    _write(sheet.cell(3, 1), report.period.words(), "text")
    for row, figure in enumerate(report.totals, start=5):
        _write(sheet.cell(row, 1), figure.label, "text").font = Font(bold=True)
        _write(sheet.cell(row, 2), figure.value, figure.kind)
    sheet.column_dimensions["A"].width = 40
    sheet.column_dimensions["B"].width = 20


def _write_section(book: Workbook, section: Section) -> None:
    sheet = book.create_sheet(_sheet_name(section.title))
    table = section.table
    for at, column in enumerate(table.columns, start=1):
        _write(sheet.cell(1, at), column.heading, "text").font = Font(bold=True)
    for row, values in enumerate(table.rows, start=2):
        for at, (column, value) in enumerate(zip(table.columns, values, strict=True), start=1):
            _write(sheet.cell(row, at), value, column.kind)
    sheet.freeze_panes = "A2"
    if table.rows:
        sheet.auto_filter.ref = sheet.dimensions
    for at, width in enumerate(_widths(table), start=1):
        sheet.column_dimensions[get_column_letter(at)].width = width
    if section.chart is not None and section.chart.categories:
        _write_chart(sheet, section)


def _write_chart(sheet: Worksheet, section: Section) -> None:
    """The chart's own numbers, to the right of the table, and bars of them."""
    chart = section.chart
    assert chart is not None  # noqa: S101 - the caller has looked
    first = len(section.table.columns) + 2
    for at, (name, numbers) in enumerate(chart.series, start=first + 1):
        _write(sheet.cell(1, at), name, "text")
        for row, number in enumerate(numbers, start=2):
            _write(sheet.cell(row, at), number, chart.kind)
    for row, category in enumerate(chart.categories, start=2):
        _write(sheet.cell(row, first), category, "text")
    last_row, last = len(chart.categories) + 1, first + len(chart.series)
    bars = BarChart()
    bars.title = clean(chart.title)
    bars.add_data(
        Reference(sheet, min_col=first + 1, max_col=last, min_row=1, max_row=last_row), titles_from_data=True
    )
    bars.set_categories(Reference(sheet, min_col=first, min_row=2, max_row=last_row))
    sheet.add_chart(bars, f"{get_column_letter(last + 2)}2")


def _write(cell: Cell, value: Value, kind: Kind) -> Cell:
    """Put a value into a cell, with its type; text never as a formula, an error code or a number."""
    match value:
        case None:
            return cell
        case str():
            cell.value = clean(value)[:TEXT_MAX]
            cell.data_type = "s"
            cell.quotePrefix = True
        case datetime() if value.tzinfo is not None:  # a workbook knows no zones
            cell.value = value.replace(tzinfo=None)
        case _:
            cell.value = value
    if kind in NUMBER_FORMATS:
        cell.number_format = NUMBER_FORMATS[kind]
    return cell


def _sheet_name(title: str) -> str:
    return _NOT_IN_A_SHEETS_NAME.sub(" ", clean(title))[:31] or "Table"


def _widths(table: Table) -> list[int]:
    """So that the first rows can be read, within WIDTHS."""
    least, most = WIDTHS
    widths: list[Any] = [len(column.heading) + 2 for column in table.columns]
    for row in table.rows[:200]:
        widths = [max(width, len(str(value)) + 2) for width, value in zip(widths, row, strict=True)]
    return [min(most, max(least, width)) for width in widths]
