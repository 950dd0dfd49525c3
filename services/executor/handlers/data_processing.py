"""`data_processing`: what `shared.job_types.data_processing` describes, done by duckdb. Blocking."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from threading import Event, Thread
from typing import IO, TYPE_CHECKING, Any

from services.executor.datasets import opened, path_of, sentence
from services.executor.files import create_file
from services.executor.handlers.data_processing_queries import COUNTED, Query, query
from services.executor.handlers.data_processing_rows import ROWS_MAX, columns_of, names, shown
from services.executor.handlers.data_processing_rules import violations
from services.executor.handlers.data_processing_values import BadParameters
from services.executor.limits import files_bounded
from shared.handlers import GiveUp
from shared.job_types.data_processing import (
    Aggregate,
    DataProcessed,
    DataProcessing,
    Join,
    Output,
    Sql,
    Validate,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.executor.datasets import Datasets
    from services.executor.resources import Resources
    from shared.handlers import Run
    from shared.job_types.data_processing import Filter, Transform

    Rows = Aggregate | Filter | Transform | Join | Sql

OUTPUT_BYTES_MAX = 16 * 1024**3
LOOK_AGAIN_S = 0.5
_OPTIONS = {
    "csv": "FORMAT csv, HEADER true",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "json": "FORMAT json, ARRAY true",
    "jsonl": "FORMAT json",
}


class BadQuery(GiveUp):
    """The job's SQL can't be carried out."""


class SqlRefused(GiveUp):
    """SQL of a job's own isn't allowed on this executor, or isn't a single SELECT."""


class RulesViolated(GiveUp):
    """The dataset violates rules, and the job was to fail then."""


class OutputNotWritten(Exception):  # noqa: N818 - its name is what people read as the failure's class
    """There is no room for the output, or it can't be written."""


def handle(run: Run, resources: Resources) -> dict[str, Any]:
    """Do what the job says; returns a DataProcessed.

    What is written takes its name at the end, so running twice is running once.

    Raises:
        UnknownColumn, BadParameters, BadQuery, SqlRefused, RulesViolated: the job is at fault; given up.
        OutputNotWritten: the output is.
        Exception: the dataset is, as `datasets.opened` says.
    """
    began = time.monotonic()
    work = DataProcessing.model_validate(run.job_data).root
    if isinstance(work, Sql) and not resources.catalog.allow_sql:
        raise SqlRefused("DAYBOOK_ALLOW_SQL isn't set on this executor")
    run.progress(0.0, f"opening {work.dataset.name}")
    done = _carried_out(work, run, resources)
    done.seconds = round(time.monotonic() - began, 3)
    run.progress(1.0, f"{done.rows_read:,} rows read")
    run.log(f"{done.operation} read {done.rows_read:,} rows, made {done.rows:,}, wrote {done.rows_written:,}")
    return done.model_dump(mode="json", exclude_none=True)


def _carried_out(work: Rows | Validate, run: Run, resources: Resources) -> DataProcessed:
    output = None if isinstance(work, Validate) else work.output
    wanted = {"dataset": work.dataset}
    if isinstance(work, Join):
        wanted["other"] = work.parameters.other
    rows_max = work.parameters.record_count
    with _created(output, resources) as file:
        writable = [] if file is None else [file.fileno()]
        with (
            opened(wanted, resources, rows_max=rows_max, writable=writable) as data,
            _asked(work),
            _watched(data, run),
        ):
            return _checked(work, data) if isinstance(work, Validate) else _done(work, data, file)


def _done(work: Rows, data: Datasets, file: IO[bytes] | None) -> DataProcessed:
    """Carry out an operation whose outcome is rows."""
    asked = _query_of_its_own(work, data) if isinstance(work, Sql) else query(work, data)
    columns, cut = names(columns_of(data.connection, asked.text, asked.values))
    done = DataProcessed(
        operation=work.operation, rows_read=0, rows=0, columns=columns, truncated=cut, seconds=0
    )
    if isinstance(work, Aggregate):
        _aggregated(work, asked, data, done)
        asked = Query(text="SELECT * FROM outcome")
    else:
        done.rows_read = _count(data, Query(text="SELECT * FROM dataset"))
    if file is not None and work.output is not None:
        _write(work.output, asked, data, file, done)
    elif not isinstance(work, Aggregate):
        done.rows = _count(data, asked)
        done.sample, cut = shown(data.connection, asked.text, asked.values)
        done.truncated |= cut or done.rows > ROWS_MAX
    return done


def _aggregated(work: Aggregate, asked: Query, data: Datasets, done: DataProcessed) -> None:
    """Keep the outcome as a table: it is small, and looked at more than once."""
    data.connection.execute(f"CREATE TEMP TABLE outcome AS {asked.text}", dict(asked.values))
    outcome = Query(text="SELECT * FROM outcome")
    done.rows = _count(data, outcome)
    done.groups, cut = shown(data.connection, outcome.text, {})
    done.truncated |= cut or done.rows > ROWS_MAX
    clear = COUNTED not in map(str.casefold, work.parameters.group_by)
    if work.parameters.where or work.parameters.limit is not None or not clear:
        done.rows_read = _count(data, Query(text="SELECT * FROM dataset"))
    else:
        done.rows_read = _number(
            data, Query(text=f"SELECT CAST(coalesce(sum({COUNTED}), 0) AS BIGINT) FROM outcome")
        )


def _query_of_its_own(work: Sql, data: Datasets) -> Query:
    """The client's query, behind a view: only a SELECT can be one."""
    import duckdb  # noqa: PLC0415 - of the extra `data`

    statements = data.connection.extract_statements(work.parameters.query)
    if [each.type for each in statements] != [duckdb.StatementType.SELECT]:
        raise SqlRefused("the query must be a single SELECT")
    data.connection.execute(f"CREATE TEMP VIEW outcome AS {statements[0].query}")
    return Query(text="SELECT * FROM outcome")


def _checked(work: Validate, data: Datasets) -> DataProcessed:
    rows, rules, cut = violations(work.parameters, data)
    broken = [f"{each.rule} {each.on}: {each.violations:,}".strip() for each in rules if each.violations]
    if broken and work.parameters.fail_on_violation:
        raise RulesViolated(f"of {rows:,} rows, so many violate: {'; '.join(broken)}")
    return DataProcessed(
        operation=work.operation,
        rows_read=_count(data, Query(text="SELECT * FROM dataset")),
        rows=rows,
        rules=rules,
        truncated=cut,
        seconds=0,
    )


def _count(data: Datasets, asked: Query) -> int:
    text, values = asked.of("SELECT count(*) FROM {}")
    return _number(data, Query(text=text, values=values))


def _number(data: Datasets, asked: Query) -> int:
    row = data.connection.execute(asked.text, dict(asked.values)).fetchone()
    return 0 if row is None else int(row[0])


# The output.


@contextlib.contextmanager
def _created(output: Output | None, resources: Resources) -> Iterator[IO[bytes] | None]:
    if output is None:
        yield None
        return
    with create_file(Path(output.path), resources.catalog.files_roots) as file:
        yield file


def _write(output: Output, asked: Query, data: Datasets, file: IO[bytes], done: DataProcessed) -> None:
    import duckdb  # noqa: PLC0415

    target = path_of(file.fileno())
    text = f"COPY ({asked.text}) TO '{target}' ({_OPTIONS[output.written_as]}, USE_TMP_FILE false)"
    try:
        with files_bounded(OUTPUT_BYTES_MAX):
            done.rows_written = _number(data, Query(text=text, values=asked.values))
    except duckdb.IOException as error:
        if target not in str(error):
            raise
        raise OutputNotWritten(sentence(error, {target: output.path})) from error
    done.rows = done.rows_written
    done.output, done.bytes = output.path, os.fstat(file.fileno()).st_size


# Errors and progress.


@contextlib.contextmanager
def _asked(work: Rows | Validate) -> Iterator[None]:
    """What duckdb finds wrong with a statement is the job's fault, not the dataset's."""
    import duckdb  # noqa: PLC0415

    faults: tuple[type[Exception], ...] = (
        duckdb.BinderException,
        duckdb.CatalogException,
        duckdb.NotSupportedError,
        duckdb.ParserException,
        duckdb.TypeMismatchException,
    )
    if isinstance(work, Sql):
        faults += (duckdb.ProgrammingError, duckdb.DataError, duckdb.PermissionException)
    try:
        yield
    except faults as error:
        raise (BadQuery if isinstance(work, Sql) else BadParameters)(sentence(error, {})) from error


@contextlib.contextmanager
def _watched(data: Datasets, run: Run) -> Iterator[None]:
    """Pass on how far duckdb is, from a thread of its own: this one waits for it."""
    over = Event()

    def look() -> None:
        while not over.wait(LOOK_AGAIN_S):
            percent = data.connection.query_progress()
            if percent > 0:
                run.progress(min(percent / 100, 0.99), "reading")

    watch = Thread(target=look, name="progress", daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
