"""`report_generation`: numbers of a span of time as a file, and as mail to whom it concerns.

Blocking: it runs in a process of the pool, where what it waits for (Postgres, the mail server) has an event loop of its
own. A second attempt at a run writes the same file anew and mails it under the same Message-ID.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.executor import files
from services.executor.handlers.reports import executions, periods, records, writers
from services.executor.handlers.reports.writers import as_json
from shared.job_types.catalog import Unknown
from shared.job_types.report_generation import (
    Mailed,
    Named,
    PeriodSaid,
    Reported,
    ReportGeneration,
    ReportType,
    dataset_of,
)

if TYPE_CHECKING:
    from services.executor.handlers.reports.periods import Period
    from services.executor.handlers.reports.report import Report
    from services.executor.resources import Resources
    from shared.handlers import Run

TITLES: dict[ReportType, str] = {
    "executions": "Executions",
    "sales": "Sales report",
    "financial": "Financial report",
    "dataset": "Report",
}
TOTALS_MAX = 40  # in the result, which has a limit of its own; the file has all of them


def handle(run: Run, resources: Resources) -> dict[str, Any]:
    """Make the report, keep it, mail it; see `Reported`."""
    task = ReportGeneration.model_validate(run.job_data)
    run.progress(0.05, "reading")
    report = _report(task, run, resources)
    run.progress(0.5, f"writing {report.rows:,} rows as {task.format}")
    rendered = writers.render(report, task.format)
    path = _path(task, run, resources)
    with files.create_file(path, resources.catalog.files_roots) as file:
        file.write(rendered.content)
    mailed = _mailed(task, run, resources, report, path.name, rendered.content)
    return Reported(
        format=task.format,
        path=str(path),
        bytes=len(rendered.content),
        sha256=hashlib.sha256(rendered.content).hexdigest(),
        pages=rendered.pages,
        rows=report.rows,
        totals={figure.name: as_json.plain(figure.value) for figure in report.totals[:TOTALS_MAX]},
        period=PeriodSaid.model_validate(report.period.as_json()),
        mailed=mailed,
    ).model_dump(mode="json", by_alias=True)


def _report(task: ReportGeneration, run: Run, resources: Resources) -> Report:
    title = task.title or TITLES[task.report_type]
    period = _period(task, run)
    if task.report_type == "executions":
        if resources.database_url is None:
            run.give_up("this executor has no database to read executions from")
        return asyncio.run(
            executions.report(
                resources.database_url,
                job_id=run.job_id,
                period=period,
                template=task.template,
                title=title,
                scheduled_for=run.scheduled_for,
            )
        )
    try:
        dataset = dataset_of(task, resources.catalog)
    except Unknown as why:
        run.give_up(f"UnknownSource: {why} (on this executor)")
    return records.report(
        task,
        dataset,
        resources,
        period=period,
        title=title,
        scheduled_for=run.scheduled_for,
        rows_max=writers.LIMITS[task.format].rows,
    )


def _period(task: ReportGeneration, run: Run) -> Period:
    default: Named = "last_7_days" if task.report_type == "executions" else "all"
    return periods.resolve(task.date_range or default, run.scheduled_for, run.timezone)


def _path(task: ReportGeneration, run: Run, resources: Resources) -> Path:
    if task.output is not None:
        return Path(task.output)
    roots = resources.catalog.files_roots
    if not roots:
        run.give_up(
            "OutsideFilesRoots: this executor has no directory for files: DAYBOOK_FILES_ROOTS is not set"
        )
    return roots[0] / "reports" / f"{run.run_id}.{task.format}"


def _mailed(
    task: ReportGeneration, run: Run, resources: Resources, report: Report, name: str, content: bytes
) -> Mailed | None:
    if not task.recipients:
        return None
    from services.executor.handlers.reports import mailing  # noqa: PLC0415 - most reports are not mailed

    run.progress(0.8, "mailing")
    return mailing.mailed(task.recipients, run, resources, report, name, content)
