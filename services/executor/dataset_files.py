"""From what a job calls a dataset to an open file that duckdb can read."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.executor import files, staging
from services.executor.staging import BadDataset, DatasetMissing, DatasetTooLarge
from shared.handlers import GiveUp
from shared.job_types.catalog import Unknown
from shared.job_types.dataset import format_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.executor.resources import Resources
    from services.executor.staging import Staged
    from shared.job_types.catalog import Source
    from shared.job_types.dataset import Dataset, Format, Packing

HEAD = 1024 * 1024  # bytes of a CSV file that are looked at before duckdb sees it
DELIMITERS = (b",", b";", b"\t", b"|")
_SHORT = {"text": "VARCHAR"}


class UnknownSource(GiveUp):
    """A job names a source that isn't configured on this executor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one job may use.

    Attributes:
        memory: bytes that duckdb keeps at once; its process takes some 300 MB more.
        threads: of duckdb.
        spilled: bytes of temporary files for what doesn't fit into memory.
        staged: bytes of a packed file's content, or of a database's table as CSV.
        columns: of one dataset.
    """

    memory: int = 512 * 1024**2
    threads: int = 2
    spilled: int = 8 * 1024**3
    staged: int = 4 * 1024**3
    columns: int = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFile:
    """A file that is open.

    Attributes:
        called: what people call the dataset.
        types: duckdb's, by the column's name; those of the others are found in the rows.
        exact: it was written here: `types` has all columns, in their order.
    """

    descriptor: int
    format: Format
    called: str
    types: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False

    @property
    def path(self) -> str:
        """For duckdb: it means this open file, and no other."""
        return path_of(self.descriptor)


def path_of(descriptor: int) -> str:
    """A path that means what is open there, whatever its name leads to by now, and no wildcard."""
    return f"/dev/fd/{descriptor}"


@contextlib.contextmanager
def dataset_file(
    dataset: Dataset, resources: Resources, folder: Path, *, rows_max: int | None, limits: Limits
) -> Iterator[DatasetFile]:
    """The dataset as a file, open for so long.

    Args:
        dataset: as the job has it.
        resources: of the executor.
        folder: where packed files and tables are written down; there they have no name.
        rows_max: so many rows of it are needed; a file may have more.
        limits: what may be used.

    Raises:
        DatasetMissing, BadDataset, DatasetTooLarge, UnknownSource, OutsideFilesRoots: as `datasets.opened` says.
    """
    with contextlib.ExitStack() as stack:
        if dataset.path is not None:
            file = _of_path(dataset, dataset.path, resources)
        else:
            file = _of_source(dataset, resources, folder, rows_max, limits)
        stack.callback(os.close, file.descriptor)
        packing = _packing(dataset, resources)
        if packing:
            file = _unpacked(file, packing, folder, limits)
            stack.callback(os.close, file.descriptor)
        if file.format == "csv" and not file.exact:
            _check_head(file, limits)
        yield file


def _of_path(dataset: Dataset, path: str, resources: Resources) -> DatasetFile:
    try:
        descriptor = files.open_file(Path(path), resources.catalog.files_roots)
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetMissing(f"there is no file {path}") from None
    return _described(dataset, descriptor, dataset.format or format_of(path)[0])


def _of_source(
    dataset: Dataset, resources: Resources, folder: Path, rows_max: int | None, limits: Limits
) -> DatasetFile:
    try:
        source = resources.catalog.source(dataset.name)
    except Unknown as why:
        raise UnknownSource(f"{why} (on this executor)") from None
    if source.kind == "postgres":
        return _of_table(dataset, source, resources, folder, rows_max, limits)
    return _described(dataset, _opened(source), dataset.format or source.kind)


def _opened(source: Source) -> int:
    """The operator's own file: its path may lead through links."""
    path = source.path
    if path is None:
        raise UnknownSource(f"the source {source.name} has no path")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetMissing(f"the file of the source {source.name} isn't there") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadDataset(f"the source {source.name} is no regular file")
    return descriptor


def _of_table(
    dataset: Dataset, source: Source, resources: Resources, folder: Path, rows_max: int | None, limits: Limits
) -> DatasetFile:
    if dataset.table is None or source.url is None:
        raise UnknownSource(f"{source.name} is a database: a table of it must be named")
    url = resources.secrets.value(source.url)
    staged = staging.table_of(url, dataset.table, folder, bytes_max=limits.staged, rows_max=rows_max)
    return DatasetFile(
        descriptor=staged.descriptor, format="csv", called=dataset.name, types=staged.types or {}, exact=True
    )


def _described(dataset: Dataset, descriptor: int, form: Format | None) -> DatasetFile:
    types = {column: _SHORT.get(kind, kind.upper()) for column, kind in dataset.types.items()}
    return DatasetFile(descriptor=descriptor, format=form or "csv", called=dataset.name, types=types)


def _packing(dataset: Dataset, resources: Resources) -> Packing:
    if dataset.path is not None:
        return format_of(dataset.path)[1]
    path = resources.catalog.source(dataset.name).path
    return "" if path is None else format_of(str(path))[1]


def _unpacked(file: DatasetFile, packing: Packing, folder: Path, limits: Limits) -> DatasetFile:
    if file.format == "parquet":
        raise BadDataset(f"{file.called}: a Parquet file packs its columns itself")
    staged: Staged = staging.unpacked(file.descriptor, packing, folder, bytes_max=limits.staged)
    return replace(file, descriptor=staged.descriptor)


def _check_head(file: DatasetFile, limits: Limits) -> None:
    """Refuse a CSV file that is empty, or so wide that duckdb's plan alone would take gigabytes."""
    head = os.pread(file.descriptor, HEAD, 0)
    if not head:
        raise BadDataset(f"{file.called} is empty: it has not even a line with the names of columns")
    for line in head.splitlines():
        if any(line.count(delimiter) >= limits.columns * 4 for delimiter in DELIMITERS):
            raise DatasetTooLarge(f"{file.called} has a line of more than {limits.columns:,} columns")
