"""`report_generation`: what a job may ask for, and what is said about what it may not."""

from pathlib import Path

import pytest

from shared.job_types import BadJobData, Catalog, Known, check, describe
from shared.job_types.catalog import Source
from shared.job_types.mailboxes import mailbox

ROOT = Path("/srv/files")
SOURCES = {
    "sales_data": Source(name="sales_data", kind="csv", path=Path("/srv/sales.csv")),
    "financial_data": Source(name="financial_data", kind="csv", path=Path("/srv/money.csv")),
    "shop": Source(name="shop", kind="postgres", url="postgres://h/db"),
}
CATALOG = Catalog(files_roots=(ROOT,), sources=SOURCES, senders=(mailbox("jobs@daybook.test"),))
SALES = {"report_type": "sales", "format": "pdf"}


def faults(job_data, catalog=CATALOG):
    with pytest.raises(BadJobData) as refusal:
        check("report_generation", job_data, known=Known(), catalog=catalog)
    return [(fault.pointer.removeprefix("#/job_data"), fault.detail) for fault in refusal.value.faults]


@pytest.mark.parametrize(
    "job_data",
    [
        {
            "report_type": "financial",
            "date_range": "last_month",
            "format": "pdf",
            "template": "monthly_summary",
        },
        {"report_type": "sales", "format": "pdf", "recipients": ["manager@company.com"]},
        {"report_type": "executions"},
        {"report_type": "sales", "date_range": {"from": "2028-02-29", "to": "2028-02-29"}},
        {"report_type": "sales", "output": "/srv/files/monthly/sales.pdf", "title": "Sprzedaż: Łódź €"},
        {
            "report_type": "sales",
            "group_by": ["city", "product"],
            "columns": ["amount"],
            "date_column": "day",
        },
        {"report_type": "dataset", "dataset": "sales_data", "template": "detailed", "format": "csv"},
        {
            "report_type": "dataset",
            "dataset": "/srv/files/a.parquet",
            "recipients": ["Ann <ann@example.com>"],
        },
        {"report_type": "dataset", "dataset": {"source": "shop", "table": "public.orders"}},
    ],
)
def test_what_a_report_may_be_is_kept_as_it_was_given(job_data):
    assert check("report_generation", job_data, known=Known(), catalog=CATALOG) == job_data


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"report_type": "weather"}, "/report_type", "'executions', 'sales', 'financial' or 'dataset'"),
        ({"format": "docx"}, "/format", "'pdf', 'html', 'csv', 'xlsx' or 'json'"),
        ({"template": "fancy"}, "/template", "'summary', 'monthly_summary' or 'detailed'"),
        ({"date_range": "last_fortnight"}, "/date_range", "there are today, yesterday, last_24_hours"),
        ({"date_range": {"from": "2026-10-01"}}, "/date_range", "to: Field required"),
        ({"date_range": {"from": "2026-02-29", "to": "2026-03-01"}}, "/date_range", "from: "),
        ({"date_range": {"from": "20261001", "to": "2026-10-31"}}, "/date_range", "YYYY-MM-DD"),
        ({"date_range": {"from": "0001-01-01", "to": "9999-12-31"}}, "/date_range", "between 1900 and 2200"),
        ({"date_range": {"from": "2026-10-02", "to": "2026-10-01"}}, "/date_range", "is after to"),
        ({"date_range": 7}, "/date_range", "give a name, or days"),
        ({"title": "two\nlines"}, "/title", "without line breaks"),
        ({"recipients": []}, "/recipients", "at least 1 item"),
        ({"recipients": ["a@b.c\r\nBcc: x@y.z"]}, "/recipients/0", "without line breaks"),
        ({"recipients": ["manager"]}, "/recipients/0", "is no mail address"),
        ({"recipients": ["a@example.com"] * 101}, "/recipients", "at most 100 items"),
        ({"output": "reports/a.pdf"}, "/output", "absolute path"),
        ({"output": "/srv/files/../etc/a.pdf"}, "/output", "without '..'"),
        ({"output": "/srv/files/"}, "/output", "of a file"),
        ({"output": "/etc/cron.d/a"}, "/output", "lies outside the directories jobs may touch (/srv/files)"),
        ({"dataset": "sales_data"}, "/dataset", "is for report_type dataset only"),
        ({"report_type": "dataset"}, "/dataset", "is required"),
        (
            {"report_type": "dataset", "dataset": "gone"},
            "/dataset",
            "there are financial_data, sales_data, shop",
        ),
        ({"report_type": "dataset", "dataset": "/etc/passwd.csv"}, "/dataset", "lies outside"),
        ({"report_type": "dataset", "dataset": "shop"}, "/dataset", "is a database"),
        ({"report_type": "executions", "group_by": ["city"]}, "/group_by", "is for reports on records"),
        ({"report_type": "executions", "columns": ["city"]}, "/columns", "is for reports on records"),
        ({"report_type": "executions", "date_column": "day"}, "/date_column", "is for reports on records"),
        ({"group_by": ["a", "b", "c", "d"]}, "/group_by", "at most 3 items"),
        ({"author": "me"}, "/author", "is not a field here"),
        ({"title": {"$secret": "NAME"}}, "/title", "not a secret"),
    ],
)
def test_a_report_is_told_which_part_of_its_data_is_wrong(change, pointer, said):
    [(where, detail)] = faults(SALES | change)
    assert where == pointer
    assert said in detail


@pytest.mark.parametrize("report_type", ["sales", "financial"])
def test_a_source_that_isnt_configured_is_refused_with_those_that_are(report_type):
    catalog = Catalog(files_roots=(ROOT,), sources={"shop": SOURCES["shop"]})
    [(where, detail)] = faults({"report_type": report_type}, catalog)
    assert (where, detail) == (
        "/report_type", f"'{report_type}_data' is no data source here; there are shop",
    )  # fmt: skip


def test_what_the_deployment_lacks_is_said_at_creation():
    catalog = Catalog(sources=SOURCES)
    assert dict(faults(SALES | {"recipients": ["a@example.com"]}, catalog)) == {
        "/recipients": "there is no mail server to hand it to: the operator sets DAYBOOK_SMTP_URL",
        "/output": "there is no directory for it: those jobs may touch are none; the operator sets DAYBOOK_FILES_ROOTS",
    }


def test_get_job_types_says_what_there_is():
    (told,) = [each for each in describe(Known()) if each["name"] == "report_generation"]
    assert told["extra"] == "reports"
    assert {"report_type", "date_range", "template", "recipients"} <= told["schema"]["properties"].keys()
    assert {"path", "sha256", "totals", "period", "mailed"} <= told["result"]["properties"].keys()
