"""A dataset, as a job names it: a file under the files roots, or a source that the operator has configured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_serializer, model_validator

from shared.job_types.catalog import Unknown
from shared.job_types.job_type import Fault, Strict, outside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import GetJsonSchemaHandler, ModelWrapValidatorHandler, SerializerFunctionWrapHandler
    from pydantic_core import CoreSchema

    from shared.job_types.catalog import Catalog

Format = Literal["csv", "parquet", "json"]
Packing = Literal["", "gzip", "zstd"]
Column = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]


def _type(name: str) -> str:
    decimal = re.fullmatch(r"decimal\((\d\d?),(\d\d?)\)", name)
    fits = decimal and 1 <= int(decimal[1]) <= PRECISION_MAX and int(decimal[2]) <= int(decimal[1])
    if name not in TYPES and not fits:
        raise ValueError(f"write one of {', '.join(TYPES)}, decimal(precision,scale) up to decimal(38,38)")
    return name


TYPES = ("boolean", "integer", "bigint", "double", "text", "date", "time", "timestamp", "timestamptz")
PRECISION_MAX = 38  # duckdb's widest decimal
Type = Annotated[str, Field(max_length=20), AfterValidator(_type)]

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
PACKINGS: dict[str, Packing] = {".gz": "gzip", ".zst": "zstd"}
ENDINGS = "{} (CSV and JSON also packed: {})".format(", ".join(FORMATS), ", ".join(PACKINGS))


class Dataset(Strict):
    """Where rows come from. A string stands for the source of this name or, if it begins with `/`, for the path.

    Attributes:
        source: the name of a configured source.
        path: an absolute path inside DAYBOOK_FILES_ROOTS; wildcards mean themselves.
        table: of a source that is a database: `table` or `schema.table`.
        format: of the file; by default its name's ending says it. JSON is an array of objects, or an object a line.
        types: of columns, where those that the file has, or that its first rows show, won't do.
    """

    source: str | None = Field(default=None, min_length=1, max_length=200)
    path: str | None = Field(default=None, min_length=1, max_length=4_096)
    table: str | None = Field(default=None, min_length=1, max_length=128, pattern=r"^[^\x00]*$")
    format: Format | None = None
    types: dict[Column, Type] = Field(default_factory=dict, max_length=200)
    _short: bool = PrivateAttr(default=False)

    @model_validator(mode="wrap")
    @classmethod
    def _written_short(cls, value: Any, build: ModelWrapValidatorHandler[Dataset]) -> Dataset:
        if not isinstance(value, str | dict):
            raise ValueError("write a source's name, an absolute path, or an object")  # noqa: TRY004 - pydantic's
        if isinstance(value, dict):
            return build(value)
        built = build({"path" if value.startswith("/") else "source": value})
        built._short = True  # noqa: SLF001 - ours
        return built

    @model_validator(mode="after")
    def _one_place(self) -> Dataset:
        if (self.source is None) == (self.path is None):
            raise ValueError("name either a source or a path")
        if self.table is not None and self.source is None:
            raise ValueError("a file has no table")
        if self.path is not None:
            _check_path(self.path, self.format)
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, dump: SerializerFunctionWrapHandler) -> Any:
        return (self.path or self.source) if self._short else dump(self)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """A string, or the object."""
        return {
            "anyOf": [{"type": "string", "maxLength": 4_096}, handler.resolve_ref_schema(handler(schema))]
        }

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.path or self.source)


def format_of(path: str) -> tuple[Format | None, Packing]:
    """What the ending of a file's name says of its format, and of how it is packed."""
    name = Path(path)
    packing = PACKINGS.get(name.suffix.lower(), "")
    return FORMATS.get((name.with_suffix("") if packing else name).suffix.lower()), packing


def faults(pointer: str, dataset: Dataset, catalog: Catalog) -> Iterable[Fault]:
    """What this deployment has against the dataset: it isn't configured, or lies outside the files roots.

    Args:
        pointer: of the dataset in the request.
        dataset: well-formed.
        catalog: what there is.
    """
    if dataset.path is not None:
        yield from outside(pointer, Path(dataset.path), catalog)
        return
    try:
        source = catalog.source(dataset.name)
    except Unknown as why:
        yield Fault(pointer=pointer, detail=f"{why} (a file is named by its absolute path)")
        return
    if source.kind != "postgres" and dataset.table is not None:
        yield Fault(pointer=f"{pointer}/table", detail=f"{source.name} is a file, which has no tables")
    if source.kind == "postgres" and dataset.table is None:
        detail = f'{source.name} is a database: write {{"source": "{source.name}", "table": "schema.table"}}'
        yield Fault(pointer=pointer, detail=detail)


def _check_path(path: str, given: Format | None) -> None:
    if not Path(path).is_absolute() or "\x00" in path:
        raise ValueError("write an absolute path, such as /var/data/sales.csv")
    if ".." in Path(path).parts:
        raise ValueError("write the path without '..'")
    found, packing = format_of(path)
    if found is None and given is None:
        raise ValueError(f"the file's name must end in one of {ENDINGS}, or format be given")
    if packing and (given or found) == "parquet":
        raise ValueError("a Parquet file packs its columns itself; it isn't read from a packed file")
