"""A report as a PDF: a title page with the totals, then the sections, each with its chart and its table.

Tables go on over pages under a repeated header. The font is in the file, so letters look the same everywhere: DejaVu
Sans has those of all European languages, and the euro. A letter that it hasn't is a box.
"""

from __future__ import annotations

import io
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import registerFont, registerFontFamily
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import PageBreak, SimpleDocTemplate, Spacer, Table, TableStyle

from services.executor.handlers.reports.shown import clean, shown
from services.executor.handlers.reports.writers import Rendered
from services.executor.handlers.reports.writers.pdf_chart import drawing
from services.executor.handlers.reports.writers.pdf_pages import NumberedCanvas
from services.executor.handlers.reports.writers.pdf_table import BOLD, FONT, INK, LINE, flowing, paragraph

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from services.executor.handlers.reports.report import Report, Section

MARGIN = 18 * mm
UPRIGHT_COLUMNS_MAX = 7
_GREY = HexColor("#5c6b73")
_TITLE = ParagraphStyle("title", fontName=BOLD, fontSize=26, leading=32, textColor=INK, spaceAfter=6)
_ABOUT = ParagraphStyle("about", fontName=FONT, fontSize=11, leading=16, textColor=_GREY)
_HEADING = ParagraphStyle("heading", fontName=BOLD, fontSize=15, leading=20, textColor=INK, spaceAfter=8)
_LABEL = ParagraphStyle("label", fontName=FONT, fontSize=9, leading=12, textColor=INK)
_FIGURE = ParagraphStyle("figure", parent=_LABEL, fontName=BOLD)


def render(report: Report) -> Rendered:
    """The document; across, if a table has many columns. The same report gives the same bytes."""
    _register_fonts()
    widest = max(len(section.table.columns) for section in report.sections)
    size = A4 if widest <= UPRIGHT_COLUMNS_MAX else landscape(A4)
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=size,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN,
        title=clean(report.title),
        subject=clean(report.subtitle),
        author="Daybook",
        invariant=1,  # no time of making in it
    )
    story = _title_page(report, document.width)
    for section in report.sections:
        story += [PageBreak(), *_section(section, document.width)]
    pages: list[int] = []
    document.build(story, canvasmaker=lambda *args, **options: NumberedCanvas(pages, *args, **options))
    return Rendered(content=file.getvalue(), pages=len(pages))


@cache
def _register_fonts() -> None:
    folder = resources.files("services.executor.handlers.reports").joinpath("fonts")
    for name, file in ((FONT, "DejaVuSans.ttf"), (BOLD, "DejaVuSans-Bold.ttf")):
        registerFont(TTFont(name, io.BytesIO(folder.joinpath(file).read_bytes())))
    registerFontFamily(FONT, normal=FONT, bold=BOLD, italic=FONT, boldItalic=BOLD)


def _title_page(report: Report, width: float) -> list[Flowable]:
    figures = [
        [paragraph(figure.label, _LABEL), paragraph(shown(figure.value, figure.kind), _FIGURE)]
        for figure in report.totals
    ]
    page: list[Flowable] = [
        Spacer(0, 50 * mm),
        paragraph(report.title, _TITLE),
        paragraph(report.subtitle, _ABOUT),
        paragraph(report.period.words(), _ABOUT),
        Spacer(0, 12 * mm),
    ]
    if figures:
        style = TableStyle([("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE)])
        page.append(Table(figures, colWidths=[width * 0.4, width * 0.4], hAlign="LEFT", style=style))
    return page


def _section(section: Section, width: float) -> list[Flowable]:
    parts: list[Flowable] = [paragraph(section.title, _HEADING)]
    if section.chart is not None and section.chart.categories:
        parts += [drawing(section.chart, width, font=FONT), Spacer(0, 6 * mm)]
    if not section.table.rows:
        return [*parts, paragraph("Nothing in this period.", _ABOUT)]
    return [*parts, flowing(section.table, width)]
