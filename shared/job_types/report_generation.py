"""`report_generation`: numbers of a span of time as a file, and as mail to whom it concerns."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.job_types.job_type import JobType, Strict

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
_ADDRESS = re.compile(r"[^@\s,;:<>()\[\]\\\"]+@[^@\s,;:<>()\[\]\\\"]+")


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
        if value not in Named.__args__:  # type: ignore[attr-defined]
            raise ValueError(
                f"{value[:80]!r} is not known; there are {', '.join(Named.__args__)}, "  # type: ignore[attr-defined]
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


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("is one line of text")
    return text


def _mailbox(text: str) -> str:
    if not _ADDRESS.fullmatch(text) or not text.isprintable():
        raise ValueError("is no address such as manager@company.com")
    return text


def _plain(path: str) -> str:
    if not Path(path).is_absolute() or path.endswith("/"):
        raise ValueError("write the absolute path of a file, such as /var/tmp/reports/sales.pdf")
    if ".." in Path(path).parts:
        raise ValueError("write the path without '..'")
    return path


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_line)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
FilePath = Annotated[str, Field(min_length=1, max_length=4_096), AfterValidator(_plain)]
Mailbox = Annotated[str, Field(max_length=254), AfterValidator(_mailbox)]


class ReportGeneration(Strict):
    """What to report, about which time, in which form, for whom.

    Attributes:
        report_type: `executions` are the runs of the job's own tenant that ended in the time; `sales` and `financial`
            are the records of the sources `sales_data` and `financial_data`, `dataset` those of any other.
        format: of the file.
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
        dataset: for `dataset`: a file inside the files roots, or the name of a source.
        group_by: for records: the columns whose values are told apart; by default the first one that holds words.
        columns: for records: which numbers are added up, and of `detailed` which columns are shown; by default all.
        date_column: for records: which column says when; by default the first that holds dates.
    """

    report_type: ReportType
    format: Format = "pdf"
    date_range: Annotated[DateRange, BeforeValidator(_range)] | None = None
    template: Template = "summary"
    title: Line | None = None
    recipients: list[Mailbox] | None = Field(default=None, min_length=1, max_length=100)
    output: FilePath | None = None
    dataset: Annotated[str, Field(min_length=1, max_length=4_096)] | None = None
    group_by: list[Name] | None = Field(default=None, min_length=1, max_length=GROUPS_MAX)
    columns: list[Name] | None = Field(default=None, min_length=1, max_length=100)
    date_column: Name | None = None
