"""Reports on records: what is added up is what SQL adds up, in the days that the job's clocks show."""

import csv
import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pypdf
import pytest

from services.executor.handlers import report_generation
from services.executor.handlers.reports.writers import LIMITS, Limit
from shared.handlers import GiveUp
from shared.job_types.catalog import Source
from shared.testing import NOON, a_told_run, resources

CITIES = ["Łódź €", "Kraków", "Győr", "=HYPERLINK(1)", None]
DAY_ONE = datetime(2026, 8, 1, tzinfo=UTC)


def a_sales_file(path, days=120, a_day=5):
    """Each day some sales, at times through the day in UTC."""
    lines = ["order_id,sold_on,sold_at,city,amount,pieces,note"]
    for at in range(days * a_day):
        moment = DAY_ONE + timedelta(hours=at * 24 / a_day)
        city = CITIES[at * 7 % len(CITIES)]
        quoted = "" if city is None else f'"{city}"'
        when, amount = f"{moment:%Y-%m-%d},{moment:%Y-%m-%d %H:%M:%S+00}", at * 13 % 997 + at / 100
        lines.append(f"{at},{when},{quoted},{amount:.2f},{at % 9},n{at}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def sales(tmp_path):
    return a_sales_file(tmp_path / "sales.csv")


@pytest.fixture
def offered(tmp_path, sales):
    sources = {
        name: Source(name=name, kind="csv", path=sales) for name in ("sales_data", "financial_data", "other")
    }
    root = tmp_path / "root"
    root.mkdir()
    return resources(files_roots=(root,), sources=sources)


def a_report(offered, zone="UTC", at=NOON, **data):
    run = a_told_run("report_generation", **{"report_type": "sales", "format": "json"} | data)
    object.__setattr__(run, "timezone", zone)
    object.__setattr__(run, "scheduled_for", at)
    return report_generation.handle(run, offered)


def said(result):
    content = Path(result["path"]).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (result["bytes"], result["sha256"])
    return json.loads(content)


def section(value, title):
    (found,) = [each for each in value["sections"] if each["title"] == title]
    return found["rows"]


def by_sql(sales, asked, where="true", rest=""):
    return duckdb.sql(
        f"SET TimeZone = 'UTC'; SELECT {asked} FROM read_csv('{sales}') WHERE {where} {rest}"  # noqa: S608
    ).fetchall()


OCTOBER = "sold_on BETWEEN DATE '2026-10-01' AND DATE '2026-10-31'"


def test_the_bodies_of_the_mission_end_well(offered):
    made = report_generation.handle(
        a_told_run(
            "report_generation",
            report_type="financial", date_range="last_month", format="pdf", template="monthly_summary",
        ),
        offered,
    )  # fmt: skip
    assert made["path"] == str(offered.catalog.files_roots[0] / "reports/r.pdf")
    assert (made["format"], made["pages"] >= 3, made["mailed"]) == ("pdf", True, None)
    assert made["period"] == {
        "from": "2026-10-01T00:00:00+00:00", "to": "2026-11-01T00:00:00+00:00", "timezone": "UTC",
    }  # fmt: skip


def test_the_totals_of_a_pdf_are_those_of_the_sql(offered, sales):
    made = a_report(
        offered, format="pdf", date_range="last_month", template="detailed", title="Sprzedaż: Łódź €"
    )
    document = pypdf.PdfReader(made["path"])
    texts = [page.extract_text() for page in document.pages]
    [(count, amount, pieces)] = by_sql(sales, "count(*), sum(amount), sum(pieces)", OCTOBER)
    assert made["totals"] == {"records": count, "amount": pytest.approx(amount), "pieces": pieces}
    assert made["pages"] == len(texts) >= 3
    assert "Sprzedaż: Łódź €" in texts[0]
    assert all(each in texts[0] for each in (f"{count:,}", f"{amount:,.2f}", f"{pieces:,}"))
    assert "Łódź €" in texts[1]
    begin = next(at for at, text in enumerate(texts) if text.startswith("All records"))
    assert sum(text.count("2026-10-") for text in texts[begin:]) == 2 * count  # two columns of dates


def test_groups_days_and_months_add_up_as_sql_says(offered, sales):
    value = said(a_report(offered, date_range={"from": "2026-09-15", "to": "2026-10-14"}))
    where = "sold_on BETWEEN DATE '2026-09-15' AND DATE '2026-10-14'"
    cities = by_sql(
        sales, "city, count(*), round(sum(amount), 2), sum(pieces)", where, "GROUP BY 1 ORDER BY 1 NULLS LAST"
    )
    assert [[*row[:2], round(row[2], 2), row[3]] for row in section(value, "By city")] == list(
        map(list, cities)
    )
    days = by_sql(sales, "sold_on, count(*)", where, "GROUP BY 1 ORDER BY 1")
    assert [row[:2] for row in section(value, "By day")] == [[f"{day}", count] for day, count in days]
    value = said(a_report(offered, template="monthly_summary"))
    months = by_sql(sales, "strftime(sold_on, '%Y-%m'), count(*), sum(pieces)", rest="GROUP BY 1 ORDER BY 1")
    assert [[row[0], row[1], row[3]] for row in section(value, "By month")] == list(map(list, months))


@pytest.mark.parametrize("zone", ["Europe/Warsaw", "America/New_York", "Asia/Kathmandu"])
def test_instants_are_counted_on_the_days_of_the_jobs_zone(offered, sales, zone):
    value = said(
        a_report(offered, zone, date_range={"from": "2026-10-20", "to": "2026-11-05"}, date_column="sold_at")
    )
    day = f"CAST(timezone('{zone}', sold_at) AS DATE)"
    days = by_sql(
        sales,
        f"{day}, count(*)",
        f"{day} BETWEEN DATE '2026-10-20' AND DATE '2026-11-05'",
        "GROUP BY 1 ORDER BY 1",
    )
    assert [row[:2] for row in section(value, "By day")] == [[f"{day}", count] for day, count in days]
    assert value["totals"]["records"] == sum(count for _, count in days)


def test_24_hours_are_24_hours_by_instants_and_two_days_by_days(offered, sales):
    at = datetime(2026, 10, 25, 12, tzinfo=UTC)  # clocks in Warsaw go back in between
    value = said(a_report(offered, "Europe/Warsaw", at, date_range="last_24_hours", date_column="sold_at"))
    where = (
        "sold_at >= TIMESTAMPTZ '2026-10-24 12:00:00+00' AND sold_at < TIMESTAMPTZ '2026-10-25 12:00:00+00'"
    )
    assert value["totals"]["records"] == by_sql(sales, "count(*)", where)[0][0] == 5
    assert said(a_report(offered, "Europe/Warsaw", at, date_range="last_24_hours"))["totals"]["records"] == 10


def test_wall_times_without_a_zone_are_those_of_the_jobs_zone(offered, tmp_path):
    path = tmp_path / "root" / "walls.csv"
    path.write_text(
        "at,n\n2026-11-22 00:00:00,1\n2026-11-22 23:59:59,2\n2026-11-23 00:00:00,4\n2026-11-21 23:59:59,8\n"
    )
    for zone in ("UTC", "Pacific/Kiritimati"):
        at = NOON - timedelta(hours=14 if zone != "UTC" else 0)  # the 23rd there, too
        value = said(
            a_report(offered, zone, at, report_type="dataset", dataset=str(path), date_range="yesterday")
        )
        assert value["totals"] == {"records": 2, "n": 3}


def test_a_long_time_is_told_in_months_and_a_short_one_in_days(offered):
    assert [each["title"] for each in said(a_report(offered))["sections"]] == ["By city", "By month"]
    value = said(a_report(offered, date_range="last_30_days"))
    assert [each["title"] for each in value["sections"]] == ["By city", "By day"]


def test_columns_and_groups_are_the_jobs_to_choose(offered, sales):
    value = said(a_report(offered, group_by=["city", "pieces"], columns=["amount"]))
    rows = by_sql(sales, "city, pieces, count(*)", rest="GROUP BY 1, 2 ORDER BY 1 NULLS LAST, 2")
    assert [row[:3] for row in section(value, "By city and pieces")] == list(map(list, rows))
    value = said(a_report(offered, template="detailed", columns=["note", "amount"], date_range="yesterday"))
    assert [each["name"] for each in value["sections"][-1]["columns"]] == ["note", "amount"]
    assert list(value["totals"]) == ["records", "amount"]


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_financial_report_tells_income_from_expense_and_the_result(offered, tmp_path, sign):
    money = tmp_path / "money.csv"
    lines = ["month,account,category,amount"]
    lines += [f"2026-{month:02d}-01,Sales,income,{1000 + month}.10" for month in range(1, 12)]
    lines += [f"2026-{month:02d}-01,Rent,expense,{sign}{400 + month}.20" for month in range(3, 12)]
    money.write_text("\n".join(lines) + "\n")
    offered.catalog.sources["financial_data"] = Source(name="financial_data", kind="csv", path=money)
    value = said(
        a_report(offered, report_type="financial", template="monthly_summary", date_range="this_year")
    )
    [(income, expense)] = duckdb.sql(
        f"SELECT sum(amount) FILTER (category = 'income'), sum(amount) FILTER (category = 'expense') FROM '{money}'"  # noqa: S608
    ).fetchall()
    assert value["totals"] == {
        "records": 20, "income": pytest.approx(income), "expense": pytest.approx(expense),
        "result": pytest.approx(income - abs(expense)),
    }  # fmt: skip
    by_month = section(value, "By month")
    assert by_month[0] == ["2026-01", 1001.1, 0, 1001.1]
    spent = -403.2 if sign else 403.2
    assert by_month[2] == ["2026-03", 1003.1, spent, 599.9]
    assert [each["title"] for each in value["sections"]] == [
        "By month",
        "By category",
        "By month and category",
    ]


def test_a_csv_of_records_has_no_formula(offered):
    made = a_report(offered, format="csv", template="detailed", date_range="last_month")
    rows = list(csv.DictReader(io.StringIO(Path(made["path"]).read_text(), newline="")))
    assert {row["city"] for row in rows} == {"Łódź €", "Kraków", "Győr", "'=HYPERLINK(1)", ""}
    assert len(rows) == made["totals"]["records"]


def test_a_dataset_without_dates_or_words_or_numbers_has_a_report_as_well(offered, tmp_path):
    path = tmp_path / "root" / "plain.csv"
    path.write_text("id,n\n1,5\n2,7\n")
    value = said(a_report(offered, report_type="dataset", dataset=str(path)))
    assert (value["totals"], value["sections"][0]["rows"]) == ({"records": 2, "n": 12}, [[2, 12]])
    path.write_text("word\nb\na\nb\n")
    value = said(a_report(offered, report_type="dataset", dataset=str(path)))
    assert (value["totals"], value["sections"][0]["rows"]) == ({"records": 3}, [["a", 1], ["b", 2]])
    path.write_text("records,day\n3,2026-11-22\n")
    value = said(a_report(offered, report_type="dataset", dataset=str(path), date_range="yesterday"))
    assert value["totals"] == {"record_count": 1, "records": 3}


def test_names_of_columns_are_names_and_never_sql(offered, tmp_path):
    path = tmp_path / "root" / "odd.csv"
    evil = 'x"); DROP VIEW dataset; --'
    doubled = evil.replace('"', '""')
    path.write_text(f'"{doubled}","select","day"\nword,5,2026-11-22\n')
    value = said(
        a_report(
            offered,
            report_type="dataset",
            dataset=str(path),
            template="detailed",
            group_by=[evil],
            columns=[evil, "select"],
        )
    )
    assert value["totals"] == {"records": 1, "select": 5}
    assert [each["name"] for each in value["sections"][0]["columns"]] == [evil, "records", "select"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"columns": ["nothing"]}, "has no column 'nothing'; there are order_id"),
        ({"group_by": ["nothing"]}, "has no column 'nothing'"),
        ({"date_column": "nothing"}, "has no column 'nothing'"),
        ({"date_column": "city"}, "'city' of sales_data holds VARCHAR, not dates"),
        ({"columns": ["amount", "city"]}, "'city' of sales_data holds VARCHAR, which can't be added up"),
        ({"report_type": "dataset", "dataset": "gone"}, "'gone' is no data source here"),
    ],
)
def test_what_no_other_attempt_can_mend_is_given_up(offered, data, why):
    with pytest.raises(GiveUp, match=why):
        a_report(offered, **data)
    assert not list(offered.catalog.files_roots[0].rglob("*.json"))


@pytest.mark.parametrize("data", [{"date_range": "yesterday"}, {"template": "monthly_summary"}])
def test_a_dataset_without_dates_has_no_span_of_time(offered, tmp_path, data):
    path = tmp_path / "root" / "plain.csv"
    path.write_text("id,n\n1,5\n")
    with pytest.raises(GiveUp, match="has no column of dates"):
        a_report(offered, report_type="dataset", dataset=str(path), **data)


def test_a_report_that_is_too_long_is_given_up_before_it_is_written(offered, monkeypatch):
    monkeypatch.setitem(LIMITS, "pdf", Limit(rows=100, columns=14))
    assert a_report(offered, format="pdf", template="detailed", date_range="last_7_days")["rows"] > 35
    with pytest.raises(GiveUp, match="more than the 100 rows that a report as pdf takes"):
        a_report(offered, format="pdf", template="detailed", date_range="last_month")


def test_a_second_attempt_replaces_the_file_of_the_first(offered, sales):
    first = a_report(offered, template="summary")
    sales.write_text("day,n\n2026-11-22,1\n")
    second = a_report(offered, template="summary")
    assert (first["path"], first["sha256"] != second["sha256"]) == (second["path"], True)
    assert [path.name for path in Path(first["path"]).parent.iterdir()] == ["r.json"]


def test_the_file_is_written_where_the_job_says_and_nowhere_else(offered, tmp_path):
    root = offered.catalog.files_roots[0]
    assert a_report(offered, output=f"{root}/new/deep/s.json")["path"] == f"{root}/new/deep/s.json"
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="symbolic link"):
        a_report(offered, output=f"{root}/link/s.json")
    with pytest.raises(PermissionError, match="outside"):
        a_report(offered, output=f"{tmp_path}/s.json")
    assert not (tmp_path / "s.json").exists()
