"""The file of DAYBOOK_SOURCES: YAML, read strictly; what is wrong is said in sentences that name the place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from shared.job_types.catalog import Source, Storage
from shared.job_types.job_type import Strict
from shared.job_types.secrets import HOW, KEY, SecretRef, is_reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

_NAME = r"^[A-Za-z0-9_.-]{1,64}$"
_SIZE_MAX = 1024 * 1024  # bytes; an operator's file has some hundred lines


class BadSources(ValueError):  # noqa: N818 - read aloud, as BadSettings
    """The file of sources can't be used; the message is one sentence a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What stands in it."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    storage: Mapping[str, Storage] = field(default_factory=dict)


def read(path: Path) -> Found:
    """What the file at `path` offers.

    Raises:
        BadSources: with a sentence for each thing that is wrong.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_SIZE_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise BadSources(f"DAYBOOK_SOURCES={path} can't be read: {error}") from error
    if len(text) > _SIZE_MAX:
        raise BadSources(f"DAYBOOK_SOURCES={path} has more than {_SIZE_MAX:,} characters.")
    try:
        return parsed(text)
    except BadSources as wrong:
        lines = "\n".join(f"DAYBOOK_SOURCES={path}: {line}" for line in str(wrong).splitlines())
        raise BadSources(lines) from wrong.__cause__


def parsed(text: str) -> Found:
    """What the YAML text offers.

    Raises:
        BadSources: likewise.
    """
    try:
        tree = yaml.load(text, Loader=_Strict)  # noqa: S506 - a SafeLoader, but for keys that stand twice
    except yaml.YAMLError as error:
        raise BadSources(f"this is no YAML: {' '.join(str(error).split())}") from error
    try:
        file = _FILE.validate_python({} if tree is None else tree)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise BadSources("\n".join(dict.fromkeys(_sentence(each, tree) for each in found))) from None
    return Found(
        sources={name: each.source(name) for name, each in file.sources.items()},
        storage={name: each.storage(name) for name, each in file.storage.items()},
    )


class _Strict(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML would let the last win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _absolute(text: str) -> str:
    if not Path(text).is_absolute() or ".." in Path(text).parts:
        raise ValueError("must be an absolute path without '..'")
    return text


def _reference(value: Any) -> Any:
    if isinstance(value, dict) and not is_reference(value):
        raise ValueError(f"is no secret: {HOW}")
    return value


def _database(value: str | SecretRef) -> str | SecretRef:
    if isinstance(value, str) and urlsplit(value).scheme not in {"postgres", "postgresql"}:
        raise ValueError("must be postgresql://user:password@host:5432/database")
    return value


def _store(url: str) -> str:
    parts = urlsplit(url)
    here = parts.scheme == "file" and not parts.netloc and ".." not in Path(unquote(parts.path)).parts
    there = parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc
    if not (there or (here and parts.path not in {"", "/"})) or parts.query or parts.fragment:
        raise ValueError("must be file:///absolute/directory or s3://bucket/prefix")
    return url


_Text = Annotated[str, Field(min_length=1, max_length=4_096)]
_TextOrSecret = _Text | SecretRef


class _File(Strict):
    kind: Literal["csv", "parquet", "json"]
    path: Annotated[_Text, AfterValidator(_absolute)]

    def source(self, name: str) -> Source:
        return Source(name=name, kind=self.kind, path=Path(self.path))


class _Database(Strict):
    kind: Literal["postgres"]
    url: Annotated[_TextOrSecret, AfterValidator(_database)]

    def source(self, name: str) -> Source:
        return Source(name=name, kind=self.kind, url=self.url)


class _Options(Strict):
    endpoint_url: _TextOrSecret | None = None
    key: _TextOrSecret | None = None
    secret: _TextOrSecret | None = None
    region: _TextOrSecret | None = None


class _Storage(Strict):
    url: Annotated[_Text, AfterValidator(_store)]
    options: _Options = Field(default_factory=_Options)

    def storage(self, name: str) -> Storage:
        given = {each: getattr(self.options, each) for each in self.options.model_fields_set}
        return Storage(name=name, url=self.url, options={k: v for k, v in given.items() if v is not None})


_Name = Annotated[str, Field(pattern=_NAME)]


class _Sources(Strict):
    sources: dict[_Name, Annotated[_File | _Database, Field(discriminator="kind")]] = Field(
        default_factory=dict
    )
    storage: dict[_Name, _Storage] = Field(default_factory=dict)


_FILE = TypeAdapter(_Sources)
_MEMBERS = {"csv", "parquet", "json", "postgres", "str", "SecretRef", "[key]"}


def _sentence(error: ErrorDetails, tree: Any) -> str:
    place = _place(error["loc"], tree)
    match error["type"]:
        case "missing":
            why = "is required"
        case "extra_forbidden":
            why = "is not known here"
        case "union_tag_not_found":
            why = "needs a kind: csv, parquet, json or postgres"
        case "union_tag_invalid":
            why = "has a kind that isn't one of csv, parquet, json, postgres"
        case "string_pattern_mismatch":
            why = "must be 1 to 64 letters, digits, dots, dashes or underscores"
        case "value_error":
            why = str(error.get("ctx", {})["error"])
        case _:
            why = error["msg"]
    return f"{place} {why}."


def _place(where: tuple[int | str, ...], tree: Any) -> str:
    """The path of what is wrong as the file spells it: pydantic's has its unions' members in it."""
    names: list[str] = []
    for part in where:
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif part in _MEMBERS or part == KEY:
            continue
        names.append(str(part))
    return ".".join(names) or "the file"
