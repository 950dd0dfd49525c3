"""Reports on records: sales, financial, or any other dataset: what they add up to, by whom and by when."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from services.executor import datasets
from services.executor.handlers.reports import records_balance
from services.executor.handlers.reports.records_balance import CATEGORY
from services.executor.handlers.reports.records_questions import DAY, MONTH, Questions
from services.executor.handlers.reports.records_roles import is_whole, kind_of, measures_of, when_of, words_in
from services.executor.handlers.reports.report import Chart, Column, Figure, Report, Section, Table
from services.executor.handlers.reports.shown import NONE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from services.executor.handlers.reports.periods import Period
    from services.executor.handlers.reports.records_questions import Rows
    from services.executor.handlers.reports.report import Value
    from services.executor.resources import Resources
    from shared.job_types.dataset import Dataset
    from shared.job_types.report_generation import ReportGeneration

BARS_MAX = 20  # of groups; days are as many as there are
_TIMES = {DAY: Column(name="day", kind="date", label="Day"), MONTH: Column(name="month", label="Month")}


def report(
    task: ReportGeneration,
    dataset: Dataset,
    resources: Resources,
    *,
    period: Period,
    title: str,
    scheduled_for: datetime,
    rows_max: int,
) -> Report:
    """The report on the dataset's records in the period.

    Args:
        task: which template, which columns.
        dataset: whose records.
        resources: open it.
        period: records without a time are in an open one only.
        title: its own.
        scheduled_for: the nominal time of the run.
        rows_max: tables end after one row more.

    Raises:
        UnfitColumn, NoDates: given up.
        UnknownColumn and others: as `datasets.opened` says.
    """
    with datasets.opened({"dataset": dataset}, resources) as data:
        table = data.tables["dataset"]
        when = when_of(task, table)
        asked = Questions(
            connection=data.connection, table=table, when=when, period=period, rows_max=rows_max
        )
        view = _View(asked=asked, task=task, groups=_groups(task, asked), measures=measures_of(task, table))
        return Report(
            title=title,
            subtitle=f"Records of {dataset.name}" + ("" if when is None else f", by {when.name}"),
            period=period,
            scheduled_for=scheduled_for,
            totals=view.totals(),
            sections=view.sections(),
        )


def _groups(task: ReportGeneration, asked: Questions) -> list[str]:
    if task.group_by is not None:
        for name in task.group_by:
            asked.table.column(name)
        return list(dict.fromkeys(task.group_by))
    if task.report_type == "financial" and CATEGORY in asked.table.columns:
        return [CATEGORY]
    found = asked.few_words(words_in(asked.table))
    return [] if found is None else [found]


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A dataset as this report sees it."""

    asked: Questions
    task: ReportGeneration
    groups: list[str]
    measures: list[str]

    @property
    def balanced(self) -> str | None:
        """What is income or expense: the number of a financial report that tells them apart, and nothing else."""
        if self.task.report_type != "financial" or self.groups != [CATEGORY] or len(self.measures) != 1:
            return None
        kinds = {row[0] for row in self.asked.sums([CATEGORY], [])}
        return self.measures[0] if kinds and kinds <= {records_balance.IN, records_balance.OUT} else None

    def totals(self) -> tuple[Figure, ...]:
        (row,) = self.asked.sums([], self.measures)
        if (amount := self.balanced) is not None:
            records = Figure(name="records", label="Records", kind="integer", value=row[0])
            return (records, *records_balance.totals(self.asked.sums([CATEGORY], [amount])))
        return tuple(
            Figure(name=column.name, label=column.heading, kind=column.kind, value=value)
            for column, value in zip(self._columns(), row, strict=True)
        )

    def sections(self) -> tuple[Section, ...]:
        time = MONTH if self.asked.period.months else DAY
        by_group = [self._section(self.groups)] if self.groups else []
        by_time = [self._timely(time)] if self.asked.when is not None else []
        match self.task.template:
            case "monthly_summary":
                both = [self._section([MONTH, *self.groups])] if self.groups else []
                return (self._timely(MONTH), *by_group, *both)
            case "detailed":
                return (*by_group, *by_time, self._records())
            case "summary":
                return (*by_group, *by_time) or (self._section([]),)

    def _timely(self, time: str) -> Section:
        amount = self.balanced
        if amount is None:
            return self._section([time])
        return records_balance.by_time(self.asked.sums([time, CATEGORY], [amount]), _TIMES[time])

    def _section(self, keys: Sequence[str]) -> Section:
        rows = self.asked.sums(keys, self.measures)
        columns = (*map(self._key, keys), *self._columns())
        names = [column.name for column in columns[: len(keys)]]
        title = f"By {' and '.join(names)}" if names else "In total"
        table = Table(name="_".join(names) or "total", title=title, columns=columns, rows=rows)
        return Section(title=title, table=table, chart=self._chart(table, len(keys)))

    def _records(self) -> Section:
        names = self.task.columns or list(self.asked.table.columns)
        columns = tuple(Column(name=name, kind=kind_of(self.asked.table.columns[name])) for name in names)
        rows = self.asked.records(names)
        return Section(
            title="All records",
            table=Table(name="records", title="All records", columns=columns, rows=rows),
        )

    def _key(self, key: str) -> Column:
        return _TIMES.get(key) or Column(name=key, kind=kind_of(self.asked.table.columns[key]))

    def _columns(self) -> tuple[Column, ...]:
        """Number of records, and sums."""
        count = "records" if "records" not in self.measures else "record_count"
        types = self.asked.table.columns
        return (
            Column(name=count, kind="integer", label="Records"),
            *(
                Column(name=name, kind="integer" if is_whole(types[name]) else "number")
                for name in self.measures
            ),
        )

    def _chart(self, table: Table, keys: int) -> Chart | None:
        """One number of each row: the first sum that the job names, else the last; of many groups, the largest."""
        if keys != 1:
            return None
        at = 2 if self.task.columns and self.measures else len(table.columns) - 1
        shown = table.columns[at]
        rows, among = table.rows, ""
        if table.columns[0].name not in {"day", "month"} and len(rows) > BARS_MAX:
            rows = tuple(sorted(rows, key=lambda row: -_number(row[at]))[:BARS_MAX])
            among = f", the {BARS_MAX} largest"
        return Chart(
            title=f"{shown.heading} {table.title[:1].lower()}{table.title[1:]}{among}",
            kind=shown.kind,
            categories=_labels(rows),
            series=((shown.heading, tuple(_number(row[at]) for row in rows)),),
        )


def _labels(rows: Rows) -> tuple[str, ...]:
    return tuple(NONE if row[0] is None else str(row[0]) for row in rows)


def _number(value: Value) -> float:
    return float(value) if isinstance(value, int | float | Decimal) else 0.0
