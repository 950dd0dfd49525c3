"""`data_migration`, an operation of `custom`: what it is told, and what it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from shared.job_types.catalog import Unknown
from shared.job_types.job_type import Fault, Strict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.job_types.catalog import Catalog, Source

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


def check(told: DataMigration, catalog: Catalog, pointer: str) -> Iterable[Fault]:
    """What is wrong with the sources that are named.

    Args:
        told: the parameters.
        catalog: has the sources.
        pointer: to the parameters.
    """
    sources: list[Source] = []
    for field, name in (("source", told.source), ("destination", told.destination)):
        try:
            sources.append(postgres(name, catalog))
        except Unknown as why:
            yield Fault(pointer=f"{pointer}/{field}", detail=str(why))
    if len(sources) == 2 and (told.source == told.destination or sources[0].url == sources[1].url):  # noqa: PLR2004
        yield Fault(pointer=f"{pointer}/destination", detail="is the same database as the source")


def postgres(name: str, catalog: Catalog) -> Source:
    """The configured database of that name.

    Raises:
        Unknown: there is none, or it is a source of another kind; says which there are.
    """
    databases = sorted(each.name for each in catalog.sources.values() if each.kind == "postgres")
    there = f"there are {', '.join(databases)}" if databases else "the operator names some in DAYBOOK_SOURCES"
    if name not in catalog.sources:
        raise Unknown(f"{name[:80]!r} is no data source here; of kind postgres, as it must be, {there}")
    source = catalog.source(name)
    if source.kind != "postgres":
        raise Unknown(
            f"{name} is of kind {source.kind}; data_migration copies between sources of kind postgres: {there}"
        )
    return source
