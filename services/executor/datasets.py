"""Datasets as relations of duckdb, in a database of memory that reaches nothing but them.

```python
with opened({"dataset": dataset}, resources) as data:
    data.connection.execute("SELECT count(*) FROM dataset")
```
Files are opened part by part (`files`), and duckdb is given their descriptors: `/dev/fd/7` is the file that was
checked. Everything else is shut before it reads a row: other files, other databases, extensions, Python's variables,
and the settings themselves.

For blocking handlers: this computes, and a process is what can be killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.executor.dataset_files import DatasetFile, Limits, dataset_file, path_of
from services.executor.limits import memory_bounded
from services.executor.scratch import scratch
from services.executor.staging import BadDataset, DatasetMissing, DatasetTooLarge, quoted
from shared.handlers import GiveUp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from services.executor.resources import Resources
    from shared.job_types.dataset import Dataset

__all__ = [
    "BadDataset",
    "DatasetMissing",
    "DatasetTooLarge",
    "Datasets",
    "Limits",
    "OutOfMemory",
    "Table",
    "UnknownColumn",
    "opened",
    "path_of",
    "quoted",
    "translated",
]

MESSAGE_MAX = 400  # characters of what duckdb says
COLUMNS_SHOWN_MAX = 30
SNIFFED_WHOLE = (
    32 * 1024**2
)  # bytes: up to here all rows of a CSV or JSON file are looked at for its columns' types,
SNIFFED_ROWS = 200_000  # else so many of them
UNCOUNTED = (
    1024**3
)  # bytes of address space beside what duckdb counts: its threads' stacks, single large values
_DEFAULT = Limits()


class OutOfMemory(GiveUp):
    """The work doesn't fit into the memory and the room on disk that one job may use."""


class UnknownColumn(GiveUp):
    """A job names a column that its dataset doesn't have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A view of a dataset.

    Attributes:
        name: in SQL.
        called: what people call the dataset.
        columns: duckdb's type by name, in their order.
    """

    name: str
    called: str
    columns: Mapping[str, str]

    def column(self, name: str) -> str:
        """The column as it is written in SQL.

        Raises:
            UnknownColumn: there is none of that name; says which there are.
        """
        if name not in self.columns:
            there_are = ", ".join(list(self.columns)[:COLUMNS_SHOWN_MAX])
            raise UnknownColumn(f"{self.called} has no column {name[:80]!r}; there are {there_are}"[:1_000])
        return quoted(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasets:
    """An open database, locked.

    Attributes:
        connection: reads the views; `COPY … TO` only what was to be writable.
        tables: by the name of the view.
    """

    connection: DuckDBPyConnection
    tables: Mapping[str, Table]


@contextlib.contextmanager
def opened(
    wanted: Mapping[str, Dataset],
    resources: Resources,
    *,
    rows_max: int | None = None,
    writable: Sequence[int] = (),
    limits: Limits = _DEFAULT,
) -> Iterator[Datasets]:
    """Open datasets together; they, and all that was written down for them, go at the end.

    What duckdb finds wrong with the data within the block is raised as one of the classes below, too.

    Args:
        wanted: by the name that its view is to have: ours, never a client's.
        resources: the catalog says what is to be had; secrets resolve the URLs of databases.
        rows_max: of each dataset there are at most so many rows, the first.
        writable: open descriptors; `COPY … TO path_of(descriptor) (USE_TMP_FILE false)` writes to them.
        limits: see there.

    Raises:
        DatasetMissing: there is no such file or table.
        BadDataset: it isn't what it is said to be.
        DatasetTooLarge: it has too many bytes or columns; given up.
        OutOfMemory: the work doesn't fit; given up.
        UnknownSource: its source isn't configured here; given up.
        OutsideFilesRoots: its path isn't one that jobs may read.
        OSError, asyncpg.PostgresError: its database can't be reached, or refuses; or the disk is full.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch())
        found = {
            name: stack.enter_context(
                dataset_file(dataset, resources, folder, rows_max=rows_max, limits=limits)
            )
            for name, dataset in wanted.items()
        }
        stack.enter_context(translated(found.values()))
        stack.enter_context(memory_bounded(limits.memory + UNCOUNTED))
        allowed = [file.path for file in found.values()] + [path_of(each) for each in writable]
        connection = stack.enter_context(_locked(allowed, folder, limits))
        tables = {name: _table(connection, name, file, rows_max, limits) for name, file in found.items()}
        yield Datasets(connection=connection, tables=tables)


@contextlib.contextmanager
def translated(found: Iterable[DatasetFile] = ()) -> Iterator[None]:
    """Raise what duckdb finds wrong with data, or with room, by our names; its other errors pass."""
    import duckdb  # noqa: PLC0415 - of the extra `data`

    called = {file.path: file.called for file in found}
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory("there is no memory left for it") from error
    except duckdb.OutOfMemoryException as error:
        raise OutOfMemory(sentence(error, called)) from error
    except (
        duckdb.InvalidInputException,
        duckdb.ConversionException,
        duckdb.OutOfRangeException,
        duckdb.SerializationException,
        duckdb.IOException,
    ) as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise OSError(
                errno.ENOSPC, "there is no room on disk for what doesn't fit into memory"
            ) from error
        raise BadDataset(sentence(error, called)) from error
    except duckdb.Error as error:
        if type(error) is not duckdb.Error:
            raise
        raise BadDataset(sentence(error, called)) from error  # what its Parquet reader finds is of no class


def sentence(error: Exception, called: Mapping[str, str]) -> str:
    """What duckdb says, shortly; `called` has the names for the paths that it knows."""
    text = re.split(r"\n\n|\s*The search space used was", str(error))[0]
    for path, name in called.items():
        text = text.replace(path, name)
    return re.sub(r"\s+", " ", text)[:MESSAGE_MAX]


@contextlib.contextmanager
def _locked(allowed: list[str], folder: Path, limits: Limits) -> Iterator[DuckDBPyConnection]:
    """A database of memory that may touch the allowed paths and its folder; nothing in it can change that."""
    import duckdb  # noqa: PLC0415

    connection = duckdb.connect(":memory:")
    try:
        for name, value in _settings(allowed, folder, limits).items():
            connection.execute(f"SET {name} = {_written(value)}")
        yield connection
    finally:
        connection.close()


def _settings(allowed: list[str], folder: Path, limits: Limits) -> dict[str, Any]:
    """In the order in which they must be set: directories before access is shut, the lock last."""
    return {
        "temp_directory": str(folder / "spilled"),
        "home_directory": str(folder),
        "secret_directory": str(folder),
        "max_temp_directory_size": f"{limits.spilled}B",
        "memory_limit": f"{limits.memory}B",
        "threads": limits.threads,
        "TimeZone": "UTC",  # what a timestamp looks like is not this machine's matter
        "allow_persistent_secrets": False,
        "allow_community_extensions": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "enable_external_file_cache": False,
        "enable_progress_bar": True,  # or `query_progress` knows nothing
        "enable_progress_bar_print": False,
        "allowed_paths": allowed,
        "enable_external_access": False,  # FROM finds no variable of Python's either
        "lock_configuration": True,
    }


def _written(value: Any) -> str:
    """A setting's value in SQL: SET takes no parameters. All of them are ours."""
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, list):
        return "[{}]".format(", ".join(map(_written, value)))
    return "'{}'".format(str(value).replace("'", "''"))


def _table(
    connection: DuckDBPyConnection, name: str, file: DatasetFile, rows_max: int | None, limits: Limits
) -> Table:
    relation = _relation(connection, file, {})
    if len(relation.columns) > limits.columns:
        count = len(relation.columns)
        raise DatasetTooLarge(f"{file.called} has {count:,} columns; {limits.columns:,} are the most")
    if file.types and not file.exact:
        relation = _typed(connection, file, _described(name, file, relation))
    (relation if rows_max is None else relation.limit(rows_max)).create_view(name)
    return _described(name, file, relation)


def _described(name: str, file: DatasetFile, relation: DuckDBPyRelation) -> Table:
    columns = dict(zip(relation.columns, map(str, relation.types), strict=True))
    return Table(name=name, called=file.called, columns=columns)


def _typed(connection: DuckDBPyConnection, file: DatasetFile, found: Table) -> DuckDBPyRelation:
    """The rows with the types that the job gives some columns; text in CSV is read as such, zeros at its start too."""
    written = {column: found.column(column) for column in file.types}
    if file.format == "csv":
        return _relation(connection, file, file.types)
    casts = ", ".join(f"CAST({each} AS {file.types[column]}) AS {each}" for column, each in written.items())
    return _relation(connection, file, {}).project(f"* REPLACE ({casts})")


def _relation(
    connection: DuckDBPyConnection, file: DatasetFile, types: Mapping[str, str]
) -> DuckDBPyRelation:
    """The file's rows; duckdb looks at the first of them, and at no name: what it is, is said."""
    size = os.fstat(file.descriptor).st_size
    sample = -1 if size <= SNIFFED_WHOLE else SNIFFED_ROWS
    match file.format:
        case "parquet":
            return connection.read_parquet(file.path, hive_partitioning=False)
        case "json":
            return connection.read_json(file.path, sample_size=sample, compression="none")
        case "csv" if file.exact:
            return connection.read_csv(
                file.path,
                header=True,
                delimiter=",",
                quotechar='"',
                escapechar='"',
                na_values="",
                allow_quoted_nulls=False,
                auto_detect=False,
                columns=dict(file.types),
                compression="none",
            )
        case "csv":
            return connection.read_csv(
                file.path, dtype=dict(types) or None, sample_size=sample, compression="none"
            )
