"""A table in a PDF: goes on over pages under its header; columns as wide as they need, letters smaller if they must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.platypus import LongTable, Paragraph, TableStyle

from services.executor.handlers.reports.report import NUMERIC
from services.executor.handlers.reports.shown import clean, shown

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from services.executor.handlers.reports.report import Column, Table

FONT, BOLD = "Daybook", "Daybook-Bold"
INK, LINE = HexColor("#1d2529"), HexColor("#ccd4d8")
SIZE = 8.0  # points
PADDING = 4.0  # points, left and right of a cell
CELL_MAX = 300  # characters; a row must fit onto a page
MEASURED = 1_000  # rows that are looked at for the widths; text in later ones is broken where it must be
_WORDS_AT_LEAST = 60.0  # points that a column of text has, if it needs them
_AIR = 30.0  # points that a column may have more than it needs
_PALE = HexColor("#eef2f4")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Widths of the columns and size of the letters, in points."""

    widths: list[float]
    size: float

    def style(self, *, bold: bool = False, right: bool = False) -> ParagraphStyle:
        return ParagraphStyle(
            "cell",
            fontName=BOLD if bold else FONT,
            fontSize=self.size,
            leading=self.size * 1.25,
            textColor=INK,
            alignment=2 if right else 0,
        )


def flowing(table: Table, width: float) -> Flowable:
    """The table, `width` points wide at most; it has rows."""
    texts = [
        [shown(value, column.kind)[:CELL_MAX] for value, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    layout = _layout(table.columns, texts[:MEASURED], width)
    words = layout.style()
    body = [
        [_cell(text, room, words) for text, room in zip(row, layout.widths, strict=True)] for row in texts
    ]
    return LongTable(
        [_header(table.columns, layout), *body],
        colWidths=layout.widths,
        repeatRows=1,
        hAlign="LEFT",
        style=_style(table.columns, layout),
    )


def paragraph(text: str, style: ParagraphStyle) -> Paragraph:
    """Text as text: reportlab would read it as markup, colours in it even as Python."""
    return Paragraph(escape(clean(text)), style)


def _header(columns: tuple[Column, ...], layout: _Layout) -> list[Paragraph]:
    return [
        paragraph(column.heading[:CELL_MAX], layout.style(bold=True, right=column.kind in NUMERIC))
        for column in columns
    ]


def _cell(text: str, width: float, style: ParagraphStyle) -> Any:
    """A string, or a paragraph if it must be broken: those cost a hundred times as much."""
    if "\n" not in text and stringWidth(text, FONT, style.fontSize) <= width - 2 * PADDING:
        return text
    return paragraph(text, style)


def _layout(columns: tuple[Column, ...], texts: list[list[str]], width: float) -> _Layout:
    """Numbers and days are never broken, text is: it gets what they leave."""
    needed = [
        max(stringWidth(column.heading, BOLD, SIZE), *(stringWidth(row[at], FONT, SIZE) for row in texts))
        + 2 * PADDING
        + 1
        for at, column in enumerate(columns)
    ]
    is_text = [column.kind == "text" for column in columns]
    least = [min(need, _WORDS_AT_LEAST) if text else need for need, text in zip(needed, is_text, strict=True)]
    if sum(least) > width:
        share = width / sum(least)
        return _Layout(widths=[each * share for each in least], size=SIZE * share - 0.05)
    return _Layout(widths=_shared(least, needed, width), size=SIZE)


def _shared(least: list[float], needed: list[float], width: float) -> list[float]:
    """`least`, and what is left of the width for those that need more, to each in proportion."""
    missing = sum(needed) - sum(least)
    share = min(1.0, (width - sum(least)) / missing) if missing else 0.0
    air = min(_AIR, (width - sum(needed)) / len(needed)) if share == 1.0 or not missing else 0.0
    return [low + (need - low) * share + air for low, need in zip(least, needed, strict=True)]


def _style(columns: tuple[Column, ...], layout: _Layout) -> TableStyle:
    right = [
        ("ALIGN", (at, 0), (at, -1), "RIGHT") for at, column in enumerate(columns) if column.kind in NUMERIC
    ]
    return TableStyle(
        [
            ("FONT", (0, 0), (-1, -1), FONT, layout.size, layout.size * 1.25),
            ("TEXTCOLOR", (0, 0), (-1, -1), INK),
            ("BACKGROUND", (0, 0), (-1, 0), _PALE),
            ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), PADDING),
            ("RIGHTPADDING", (0, 0), (-1, -1), PADDING),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
            *right,
        ]
    )
