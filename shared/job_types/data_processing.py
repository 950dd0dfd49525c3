"""`data_processing`: aggregates, filters, changes, joins and checks datasets: files, or the operator's sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel, model_validator

from shared.job_types import dataset as datasets
from shared.job_types.data_parameters import (
    AggregateParameters,
    FilterParameters,
    JoinParameters,
    SqlParameters,
    TransformParameters,
    ValidateParameters,
)
from shared.job_types.dataset import Dataset  # noqa: TC001 - pydantic reads it at run time
from shared.job_types.job_type import Fault, JobType, Strict, outside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.job_types.catalog import Catalog

OutputFormat = Literal["csv", "parquet", "json", "jsonl"]
OUTPUTS: dict[str, OutputFormat] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


class Output(Strict):
    """Where the outcome is written: whole or not at all, over what was there before.

    Attributes:
        path: absolute, inside DAYBOOK_FILES_ROOTS; directories on the way are made.
        format: `json` is an array, `jsonl` an object a line; by default the name's ending says it.
    """

    path: str = Field(min_length=1, max_length=4_096, pattern=r"^/[^\x00]*[^/\x00]$")
    format: OutputFormat | None = None

    @model_validator(mode="after")
    def _clear(self) -> Output:
        if ".." in Path(self.path).parts:
            raise ValueError("write the path without '..'")
        if self.format is None and Path(self.path).suffix.lower() not in OUTPUTS:
            raise ValueError(f"the file's name must end in one of {', '.join(OUTPUTS)}, or format be given")
        return self

    @property
    def written_as(self) -> OutputFormat:
        """The format, given or found."""
        return self.format or OUTPUTS[Path(self.path).suffix.lower()]


class _Work(Strict):
    dataset: Dataset
    output: Output | None = None


class Aggregate(_Work):
    """Bring rows together."""

    operation: Literal["aggregate"]
    parameters: AggregateParameters = Field(default_factory=AggregateParameters)


class Filter(_Work):
    """Keep some rows and columns."""

    operation: Literal["filter"]
    parameters: FilterParameters = Field(default_factory=FilterParameters)


class Transform(_Work):
    """Change columns."""

    operation: Literal["transform"]
    parameters: TransformParameters = Field(default_factory=TransformParameters)


class Join(_Work):
    """Bring the rows of two datasets together."""

    operation: Literal["join"]
    parameters: JoinParameters


class Sql(_Work):
    """Ask in SQL."""

    operation: Literal["sql"]
    parameters: SqlParameters


class Validate(Strict):
    """Hold the rows to rules; nothing is written."""

    dataset: Dataset
    operation: Literal["validate"]
    parameters: ValidateParameters


Operation = Annotated[
    Aggregate | Filter | Transform | Join | Sql | Validate, Field(discriminator="operation")
]


class DataProcessing(RootModel[Operation]):
    """What is done with which dataset."""


class RuleResult(BaseModel):
    """What became of a rule.

    Attributes:
        violations: rows that violate it; of `row_count` 0 or 1.
        samples: some of the values that do, shortened.
    """

    rule: str
    on: str
    violations: int
    samples: list[Any] = Field(default_factory=list)


class DataProcessed(BaseModel):
    """What was done. Long texts are shortened, and no more than the first 100 rows are here.

    Attributes:
        rows_read: of the dataset, before `where`.
        rows: of the outcome; of `validate`, those that fulfil `where`.
        rows_written: to the output.
        columns: of the outcome.
        groups: the outcome of an aggregation: numbers as numbers (but with more than 15 digits, and what is no
            number, as strings).
        sample: the first rows of another outcome, if it isn't written.
        truncated: columns, groups, sample or samples aren't all that there are.
        output: its path.
        bytes: of it.
        seconds: that it took.
    """

    operation: str
    rows_read: int
    rows: int
    rows_written: int = 0
    columns: list[str] = Field(default_factory=list)
    groups: list[dict[str, Any]] | None = None
    sample: list[dict[str, Any]] | None = None
    rules: list[RuleResult] | None = None
    truncated: bool = False
    output: str | None = None
    bytes: int | None = None
    seconds: float


def _check(data: DataProcessing, catalog: Catalog) -> Iterable[Fault]:
    work = data.root
    yield from datasets.faults("#/job_data/dataset", work.dataset, catalog)
    match work:
        case Sql() if not catalog.allow_sql:
            detail = "sql is refused here: the operator allows it by DAYBOOK_ALLOW_SQL=true"
            yield Fault(pointer="#/job_data/operation", detail=detail)
        case Join(parameters=parameters):
            yield from datasets.faults("#/job_data/parameters/with", parameters.other, catalog)
    if not isinstance(work, Validate) and work.output is not None:
        yield from outside("#/job_data/output/path", Path(work.output.path), catalog)


DATA_PROCESSING = JobType(
    name="data_processing",
    description=(
        "Aggregates, filters, transforms, joins or validates a dataset: a CSV, Parquet or JSON file inside "
        "DAYBOOK_FILES_ROOTS, or a configured source. The outcome is written to a file, or its first rows are the "
        "result. sql only where the operator allows it."
    ),
    model=DataProcessing,
    check=_check,
    result=DataProcessed,
    extra="data",
    needs=("duckdb",),
    tag="operation",
    retried=(
        "DatasetMissing and BadDataset (whoever writes the file may mend it), OutsideFilesRoots, OutputNotWritten, "
        "OSError and asyncpg's errors (no room on disk, a database that can't be reached or refuses), a time-out, a "
        "killed process: by the job's own policy"
    ),
    given_up=(
        "UnknownColumn, BadParameters (what is asked for doesn't fit the columns' types), BadQuery, SqlRefused, "
        "RulesViolated, UnknownSource, DatasetTooLarge, OutOfMemory"
    ),
)
