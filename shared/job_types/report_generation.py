"""`report_generation`: numbers of a span of time as a file, and as mail to whom it concerns."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from shared.handlers import Personal
from shared.job_types import dataset as datasets
from shared.job_types.catalog import Unknown
from shared.job_types.dataset import Column, Dataset
from shared.job_types.email_notification import NO_SERVER
from shared.job_types.job_type import Fault, JobType, Strict, outside
from shared.job_types.mailboxes import Address, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.job_types.catalog import Catalog

ReportType = Literal["executions", "sales", "financial", "dataset"]
Format = Literal["pdf", "html", "csv", "xlsx", "json"]
Template = Literal["summary", "monthly_summary", "detailed"]
Named = Literal[
    "today", "yesterday", "last_24_hours", "last_7_days", "last_30_days", "last_90_days", "this_week", "last_week",
    "this_month", "last_month", "this_quarter", "last_quarter", "this_year", "last_year", "all",
]  # fmt: skip
SOURCES: dict[ReportType, str] = {"sales": "sales_data", "financial": "financial_data"}
YEARS = range(1900, 2201)
GROUPS_MAX = 3


def _day(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ValueError("write a day as YYYY-MM-DD")
    if date.fromisoformat(text).year not in YEARS:
        raise ValueError(f"write a day between {YEARS[0]} and {YEARS[-1]}")
    return text


Day = Annotated[str, AfterValidator(_day)]


class Span(Strict):
    """Days by the clocks of the job's zone; both belong to it."""

    from_: Day = Field(alias="from")
    to: Day


def _range(value: Any) -> Any:
    """A name or a Span: told apart here, so that what is wrong is said of the one that was meant."""
    if isinstance(value, str):
        if value not in get_args(Named):
            raise ValueError(
                f"{value[:80]!r} is not known; there are {', '.join(get_args(Named))}, "
                'and days: {"from": "2026-10-01", "to": "2026-10-31"}'
            )
        return value
    try:
        span = value if isinstance(value, Span) else Span.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "date_range"
        raise ValueError(
            f'{where}: {first["msg"]}; give a name, or days: {{"from": "2026-10-01", "to": "2026-10-31"}}'
        ) from None
    if span.from_ > span.to:
        raise ValueError(f"from {span.from_} is after to {span.to}")
    return span


DateRange = Named | Span


def _plain(path: str) -> str:
    if not Path(path).is_absolute() or path.endswith("/") or "\0" in path:
        raise ValueError("write the absolute path of a file, such as /var/tmp/reports/sales.pdf")
    if ".." in Path(path).parts:
        raise ValueError("write the path without '..'")
    return path


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(one_line)]
FilePath = Annotated[str, Field(min_length=1, max_length=4_096), AfterValidator(_plain)]


class ReportGeneration(Strict):
    """What to report, about which time, in which form, for whom.

    Attributes:
        report_type: `executions` are the runs of the job's own tenant that ended in the time; `sales` and `financial`
            are the records of the sources `sales_data` and `financial_data` (of a database: of its table of this
            name), `dataset` those of any other. Where a column `category` of `financial_data` says `income` or
            `expense`, these are added up apart, and the result is told.
        format: of the file. PDF, HTML, XLSX and JSON have all tables, CSV the last of them. Text that a spreadsheet
            would take for a formula is text in XLSX, and has an apostrophe before it in CSV.
        date_range: by the clocks of the job's zone at the run's nominal time. Names of days, weeks (from Monday),
            months, quarters and years are whole ones, `this_…` and `today` up to that time. The default is
            `last_7_days` for executions and `all` for records; records without a date have no other.
        template: `summary` shows totals, what they are made of, and how they went by day (by month, if it is longer
            than 92 days); `monthly_summary` shows months instead of days; `detailed` is a summary followed by each day
            and job type of executions, or by every record.
        title: on the first page, and the subject of the mail.
        recipients: who gets the file by mail.
        output: where the file is kept, inside DAYBOOK_FILES_ROOTS; it replaces the one that is there. The default is
            `reports/<run id>.<format>` in the first of these directories.
        dataset: for `dataset`: the name of a source, or the path of a file inside the files roots.
        group_by: for records: the columns whose values are told apart; by default `category` of a financial report that
            has it, else the first column of words that has at most 50 different ones.
        columns: for records: which numbers are added up, by default all but those of columns named `id`, `price`,
            `rate`, `ratio` or `…_id` and so on; the charts have the first of them, by default the last. Of `detailed`
            also which columns are shown, by default all.
        date_column: for records: which column says when; by default the first that holds dates.
    """

    report_type: ReportType
    format: Format = "pdf"
    date_range: Annotated[DateRange, BeforeValidator(_range)] | None = None
    template: Template = "summary"
    title: Line | None = None
    recipients: Annotated[list[Address], Field(min_length=1, max_length=100), Personal] | None = None
    output: FilePath | None = None
    dataset: Dataset | None = None
    group_by: list[Column] | None = Field(default=None, min_length=1, max_length=GROUPS_MAX)
    columns: list[Column] | None = Field(default=None, min_length=1, max_length=100)
    date_column: Column | None = None


class PeriodSaid(BaseModel):
    """The time it is about, ISO 8601 with offset; `to` itself isn't in it; null where it is open."""

    from_: str | None = Field(alias="from")
    to: str | None
    timezone: str


class Mailed(BaseModel):
    """To whom the mail server has taken the mail, and whom it refused, with its words."""

    accepted: list[str]
    refused: dict[str, str]


class Reported(BaseModel):
    """What was made.

    Attributes:
        path: of the file.
        bytes: of the file.
        pages: of a PDF; else null.
        rows: of all tables in the report.
        totals: by name.
        mailed: null if there were no recipients.
    """

    format: Format
    path: str
    bytes: int
    sha256: str
    pages: int | None
    rows: int
    totals: dict[str, int | float | str | None]
    period: PeriodSaid
    mailed: Mailed | None


def dataset_of(report: ReportGeneration, catalog: Catalog) -> Dataset:
    """Whose records a report is about.

    Raises:
        Unknown: its source isn't configured; says which are.
    """
    if report.dataset is not None:
        return report.dataset
    name = SOURCES[report.report_type]
    source = catalog.source(name)
    return Dataset(source=name, table=name if source.kind == "postgres" else None)


def _check(report: ReportGeneration, catalog: Catalog) -> Iterable[Fault]:
    yield from _odd(report)
    if report.report_type in SOURCES:
        try:
            catalog.source(SOURCES[report.report_type])
        except Unknown as why:
            yield Fault(pointer="#/job_data/report_type", detail=str(why))
    if report.dataset is not None:
        yield from datasets.faults("#/job_data/dataset", report.dataset, catalog)
    if report.recipients is not None and not catalog.senders:
        yield Fault(pointer="#/job_data/recipients", detail=NO_SERVER)
    if report.output is not None:
        yield from outside("#/job_data/output", report.output, catalog)
    elif not catalog.files_roots:
        detail = f"there is no directory for it: those jobs may touch are {catalog.roots}"
        yield Fault(pointer="#/job_data/output", detail=detail)


def _odd(report: ReportGeneration) -> Iterable[Fault]:
    """Fields that a report of its type has no use for, or lacks."""
    if report.report_type == "dataset" and report.dataset is None:
        yield Fault(pointer="#/job_data/dataset", detail="is required for report_type dataset")
    if report.report_type != "dataset" and report.dataset is not None:
        yield Fault(pointer="#/job_data/dataset", detail="is for report_type dataset only")
    if report.report_type == "executions":
        for name in ("group_by", "columns", "date_column"):
            if getattr(report, name) is not None:
                detail = "is for reports on records (sales, financial, dataset)"
                yield Fault(pointer=f"#/job_data/{name}", detail=detail)


REPORT_GENERATION = JobType(
    name="report_generation",
    description=(
        "Writes a report as PDF, HTML, CSV, XLSX or JSON and mails it to recipients: on executions, on the sources "
        "sales_data and financial_data, or on any dataset. The result has the file's path and SHA-256, and the totals."
    ),
    model=ReportGeneration,
    check=_check,
    result=Reported,
    extra="reports",
    needs=("duckdb", "reportlab", "openpyxl"),
    retried=(
        "a dataset that is missing or can't be read, a database that can't be reached, JobNotProjected (it doesn't "
        "know the job yet), OutsideFilesRoots, and mail that nobody got: MailDeferred (4xx), MailServerUnreachable, "
        "MailServerUntrusted, NoMailServer"
    ),
    given_up=(
        "UnknownSource, UnknownColumn, UnfitColumn, NoDates, ReportTooLarge, DatasetTooLarge, OutOfMemory, and mail "
        "that the server refuses for all recipients (5xx) or that is too large; the file is kept"
    ),
)
