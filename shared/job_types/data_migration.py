"""`data_migration`, an operation of `custom`: what it is told, and what it tells."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from shared.job_types.job_type import Strict

LISTED_MAX = 40  # tables in a result, which has at most 16 KB
BATCH_MAX = 100_000

Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class DataMigration(Strict):
    """From where, to where, and what.

    Attributes:
        source: a configured source of kind postgres.
        destination: another one.
        table: one table, as `name` or `schema.name`; all if not given.
        batch_size: rows that are copied in one transaction.
        on_difference: what becomes of a run whose tables are not equal in the end: it fails, or reports.
    """

    source: Name
    destination: Name
    table: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    batch_size: int = Field(default=1_000, ge=1, le=BATCH_MAX)
    on_difference: Literal["fail", "report"] = "fail"


class TableMigrated(BaseModel):
    """What became of a table.

    Attributes:
        rows_copied: by this run, in all its attempts; rows that were there already are not.
        rows_source: in the snapshot that was copied.
        rows_destination: afterwards.
        equal: both have as many rows, and their checksums are the same.
    """

    table: str
    rows_copied: int
    rows_source: int
    rows_destination: int
    equal: bool


class Migrated(BaseModel):
    """What was done.

    Attributes:
        tables: the first LISTED_MAX of them, unequal ones before all others.
        tables_count: of all of them.
        rows_copied: of all of them.
        equal: all of them are.
    """

    source: str
    destination: str
    tables: list[TableMigrated]
    tables_count: int
    rows_copied: int
    equal: bool
