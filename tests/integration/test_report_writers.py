"""The five formats: each file is opened again by another program's reader, and says what the report says."""

import csv
import hashlib
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser

import openpyxl
import pypdf
import pypdfium2
import pytest

from services.executor.handlers.reports.periods import resolve
from services.executor.handlers.reports.report import Chart, Column, Figure, Report, Section, Table
from services.executor.handlers.reports.writers import LIMITS, ReportTooLarge, render

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
CITY = "Łódź €"
EVIL = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0", "#N/A", "2026", "1e5"]
MARKUP = ["<script>alert(1)</script>", "<b>bold</b>", "&amp;", "{{ 7*7 }}", "{% raw %}", '" onload="x']
COLUMNS = (
    Column(name="city", label="City"),
    Column(name="day", kind="date"),
    Column(name="amount", kind="number"),
    Column(name="pieces", kind="integer"),
    Column(name="paid", kind="boolean"),
    Column(name="at", kind="datetime"),
)


def a_row(at, city=CITY):
    amount = Decimal(at * 1_234_567) / 100 - 5_000
    return (city, date(2026, 10, 1 + at % 31), amount, at, at % 2 == 0, NOON)


def a_report(rows=120, *, cities=(), title=f"Sales of {CITY}", **changes):
    made = tuple(a_row(at) for at in range(rows)) + tuple(a_row(at, city) for at, city in enumerate(cities))
    table = Table(name="records", title="All records", columns=COLUMNS, rows=made)
    chart = Chart(
        title="Amount by city",
        kind="number",
        categories=tuple(f"{CITY} {at}" for at in range(20)),
        series=(("amount", tuple(float(at * 100 - 500) for at in range(20))),),
    )
    few = Table(name="city", title="By city", columns=COLUMNS[:3], rows=tuple(row[:3] for row in made[:5]))
    report = Report(
        title=title,
        subtitle="What was sold",
        period=resolve("last_month", NOON, "Europe/Warsaw"),
        scheduled_for=NOON,
        totals=(
            Figure(name="amount", label="Amount", kind="number", value=Decimal("1234567.89")),
            Figure(name="pieces", label="Pieces", kind="integer", value=7140),
            Figure(name="success", label="Success", kind="ratio", value=None),
        ),
        sections=(
            Section(title="By city", table=few, chart=chart),
            Section(title="All records", table=table),
        ),
    )
    return replace(report, **changes)


# PDF.


def pdf(report):
    rendered = render(report, "pdf")
    return rendered, pypdf.PdfReader(io.BytesIO(rendered.content))


def test_a_pdf_has_a_title_page_and_tables_that_go_on_under_their_header():
    rendered, document = pdf(a_report())
    texts = [page.extract_text() for page in document.pages]
    assert rendered.pages == len(texts) >= 5
    assert f"Sales of {CITY}" in texts[0]
    assert "1,234,567.89" in texts[0]
    assert "2026-10-01 to 2026-10-31 (Europe/Warsaw)" in texts[0]
    assert all("City" in text and "pieces" in text for text in texts[2:])
    assert [f"Page {at} of {len(texts)}" in text for at, text in enumerate(texts, start=1)] == [True] * len(
        texts
    )
    assert "".join(texts[2:]).count(CITY) == 120


def test_a_pdf_says_letters_of_europe_and_the_euro_from_its_own_fonts():
    words = "Łódź € Ąćęłńóśźż Ελλάδα Україна Ёлка Győr Iași Đà İstanbul"
    _, document = pdf(a_report(1, title=words))
    assert words in " ".join(document.pages[0].extract_text().split())
    fonts = {
        str(font["/BaseFont"]): "/FontDescriptor" in font and "/FontFile2" in font["/FontDescriptor"]
        for page in document.pages
        for font in page["/Resources"]["/Font"].values()
        if font["/BaseFont"] != "/Helvetica"  # reportlab names it in each file, and draws nothing with it
    }
    assert fonts
    assert all("DejaVu" in name and embedded for name, embedded in fonts.items())


def test_a_pdf_shows_something_on_every_page_and_bars_on_the_second():
    rendered, _ = pdf(a_report())
    document = pypdfium2.PdfDocument(rendered.content)
    shares, colours = [], []
    for page in document:
        picture = page.render(scale=1).to_pil().convert("RGB")
        dots = picture.get_flattened_data() if hasattr(picture, "get_flattened_data") else picture.getdata()
        seen = list(dots)
        shares.append(sum(dot != (255, 255, 255) for dot in seen) / len(seen))
        colours.append(sum(dot == (0x2F, 0x6F, 0x8F) for dot in seen) / len(seen))
    assert all(0.002 < share < 0.5 for share in shares), shares
    assert colours[1] > 0.01 > max(colours[0], *colours[2:])


def test_what_looks_like_markup_is_text_in_a_pdf():
    _, document = pdf(a_report(0, cities=MARKUP, title="<font color='[1,2]'>x</font>"))
    assert "<font color='[1,2]'>x</font>" in document.pages[0].extract_text()
    text = "".join(page.extract_text() for page in document.pages)
    assert all(each in text for each in MARKUP)


def test_a_cell_that_is_longer_than_a_page_is_cut_and_one_without_spaces_broken():
    rendered, document = pdf(a_report(3, cities=["x" * 100_000, "line\n" * 5_000]))
    assert rendered.pages == len(document.pages)


def test_a_pdf_with_many_columns_lies_across():
    columns = tuple(Column(name=f"column_{at}", kind="number") for at in range(14))
    table = Table(name="wide", title="Wide", columns=columns, rows=((Decimal(123456),) * 14,) * 100)
    _, document = pdf(a_report(sections=(Section(title="Wide", table=table),)))
    assert document.pages[0].mediabox.width > document.pages[0].mediabox.height
    text = document.pages[1].extract_text()
    assert "column_13" in text
    assert text.count("123,456.00") >= 14 * 20  # no number is broken


def test_an_empty_report_says_so_in_each_format():
    empty = Table(name="records", title="All records", columns=COLUMNS, rows=())
    report = a_report(sections=(Section(title="All records", table=empty),))
    _, document = pdf(report)
    assert "Nothing in this period." in document.pages[1].extract_text()
    assert b"Nothing in this period." in render(report, "html").content
    assert render(report, "csv").content == b"city,day,amount,pieces,paid,at\r\n"
    assert json.loads(render(report, "json").content)["sections"][0]["rows"] == []
    assert openpyxl.load_workbook(io.BytesIO(render(report, "xlsx").content))["All records"].max_row == 1


def test_the_same_report_gives_the_same_pdf():
    first, second = (hashlib.sha256(render(a_report(), "pdf").content).hexdigest() for _ in range(2))
    assert first == second


# Spreadsheets.


def book(report):
    return openpyxl.load_workbook(io.BytesIO(render(report, "xlsx").content))


def test_a_workbook_has_typed_cells_under_a_frozen_header():
    opened = book(a_report())
    assert opened.sheetnames == ["Summary", "By city", "All records"]
    sheet = opened["All records"]
    assert sheet.freeze_panes == "A2"
    assert [cell.value for cell in sheet[1]] == ["City", "day", "amount", "pieces", "paid", "at"]
    row = [cell.value for cell in sheet[4]]
    assert row == [CITY, datetime(2026, 10, 3), pytest.approx(19_691.34), 2, True, datetime(2026, 11, 23, 12)]  # noqa: DTZ001 - a workbook knows no zones
    assert [cell.data_type for cell in sheet[4]] == ["s", "d", "n", "n", "b", "d"]
    assert [opened["Summary"].cell(row, 2).value for row in (5, 6, 7)] == [1_234_567.89, 7140, None]
    assert len(opened["By city"]._charts) == 1


@pytest.mark.parametrize("text", EVIL + MARKUP)
def test_text_is_never_a_formula_in_a_workbook(text):
    columns = (Column(name=text),)
    table = Table(name="t", title=text, columns=columns, rows=((text,),))
    opened = book(a_report(title=text, subtitle=text, sections=(Section(title="T", table=table),)))
    cells = [opened["T"]["A1"], opened["T"]["A2"], opened["Summary"]["A1"], opened["Summary"]["A2"]]
    assert {cell.data_type for cell in cells} == {"s"}
    assert [cell.value.replace("\r\n", "\n") for cell in cells] == [text.replace("\r", "\n")] * 4 or [
        cell.value for cell in cells
    ] == [text] * 4
    assert all(cell.quotePrefix for cell in cells)


def test_letters_that_no_workbook_or_page_can_hold_are_replaced():
    report = a_report(0, cities=["a\x00b\x1bc", "\ud800"])
    for to in ("xlsx", "html", "pdf", "csv", "json"):
        assert render(report, to).content
    assert book(report)["All records"]["A2"].value == "a\ufffdb\ufffdc"


def rows_of(report):
    return list(csv.reader(io.StringIO(render(report, "csv").content.decode(), newline="")))


def test_a_csv_has_the_last_table_and_plain_values():
    rows = rows_of(a_report())
    assert rows[0] == ["city", "day", "amount", "pieces", "paid", "at"]
    assert rows[1] == [CITY, "2026-10-01", "-5000", "0", "true", "2026-11-23T12:00:00+00:00"]
    assert len(rows) == 121


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n@x", "\ufeff=1"])
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe_in_csv(text):
    table = Table(
        name="t", title="T", columns=(Column(name=text), Column(name="n", kind="number")), rows=((text, -5),)
    )
    rows = rows_of(a_report(sections=(Section(title="T", table=table),)))
    assert rows == [["'" + text, "n"], ["'" + text, "-5"]]


@pytest.mark.parametrize("text", ["a=1", "1-1", 'say "hi", you', "two\nlines", "'quoted", ""])
def test_other_text_comes_back_from_csv_as_it_was(text):
    table = Table(name="t", title="T", columns=(Column(name="a"), Column(name="b")), rows=((text, "x"),))
    assert rows_of(a_report(sections=(Section(title="T", table=table),)))[1] == [text, "x"]


# JSON and HTML.


def test_json_has_numbers_as_numbers_and_null_for_what_is_not_there():
    value = json.loads(render(a_report(), "json").content)
    assert value["totals"] == {"amount": 1_234_567.89, "pieces": 7140, "success": None}
    assert value["period"] == {
        "from": "2026-10-01T00:00:00+02:00", "to": "2026-11-01T00:00:00+01:00", "timezone": "Europe/Warsaw",
    }  # fmt: skip
    records = value["sections"][1]
    assert records["columns"][2] == {"name": "amount", "kind": "number"}
    assert records["rows"][2] == [CITY, "2026-10-03", 19_691.34, 2, True, "2026-11-23T12:00:00+00:00"]


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.cells, self._open = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag in {"td", "th", "h1"}:
            self._open = ""

    def handle_data(self, data):
        if self._open is not None:
            self._open += data

    def handle_endtag(self, tag):
        if tag in {"td", "th", "h1"}:
            self.cells.append(self._open)
            self._open = None


def page(report):
    return _Page(render(report, "html").content.decode())


def test_a_page_needs_nothing_from_elsewhere():
    opened = page(a_report())
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(opened.tags)
    assert not [
        value for name, value in opened.attributes if name in {"src", "href"} or name.startswith("on")
    ]
    assert opened.tags.count("rect") == 20
    assert opened.cells[0] == f"Sales of {CITY}"
    assert opened.cells.count(CITY) == 125


def test_what_looks_like_markup_is_text_in_a_page():
    plain = page(a_report(6)).tags
    opened = page(a_report(0, cities=MARKUP, title=MARKUP[0]))
    assert opened.tags == plain
    assert opened.cells[0] == MARKUP[0]
    assert [each in opened.cells for each in MARKUP] == [True] * len(MARKUP)
    assert not [name for name, _ in opened.attributes if name.startswith("on")]


@pytest.mark.parametrize("to", ["pdf", "html", "csv", "xlsx", "json"])
def test_more_than_a_format_takes_is_refused_with_what_to_do(to):
    rows = ((1,),) * (LIMITS[to].rows + 1)
    table = Table(name="t", title="All records", columns=(Column(name="n", kind="integer"),), rows=rows)
    with pytest.raises(ReportTooLarge, match="takes: choose a shorter date_range"):
        render(a_report(sections=(Section(title="T", table=table),)), to)
    wide = tuple(Column(name=f"c{at}") for at in range(LIMITS[to].columns + 1))
    table = Table(name="t", title="All records", columns=wide, rows=())
    with pytest.raises(ReportTooLarge, match="name fewer of them"):
        render(a_report(sections=(Section(title="T", table=table),)), to)
