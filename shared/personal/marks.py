"""Which parts of a job's data its type marks as personal: where `x-personal: true` stands in its JSON Schema.

`shared.handlers.Personal` puts it there; a plug-in's model may as well do so by itself (`json_schema_extra`).
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic.json_schema import GenerateJsonSchema

from shared.handlers import X_PERSONAL
from shared.personal.sealing import JOB_DATA, Place, has_sealed, is_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pydantic import BaseModel

    Schema = dict[str, Any]
    Replace = Callable[[Any, Place], Any]

_BRANCHES = ("allOf", "anyOf", "oneOf")
_DEFINED = "#/$defs/"
_MODES: tuple[Literal["validation", "serialization"], ...] = ("validation", "serialization")


class _Lenient(GenerateJsonSchema):
    """Says nothing of what JSON Schema has no word for, such as a class of a plug-in's own; its mark stays."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Any:  # noqa: ARG002 - pydantic's
        return {}


class Marks:
    """The marks in a model's schemas, which have some."""

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._roots = [
            {name: part for name, part in schema.items() if name != X_PERSONAL} for schema in schemas
        ]
        self._defined = {
            f"{at}/{name}": part
            for at, schema in enumerate(schemas)
            for name, part in schema.get("$defs", {}).items()
        }
        self._all = any(map(_is_marked, schemas))  # the data as a whole: then each of its members

    def replaced(self, job_data: dict[str, Any], replace: Replace, job_id: str) -> dict[str, Any]:
        """The data with something else in the place of each marked value; null says nothing, and stays."""
        where = Place(job_id, JOB_DATA)
        if self._all:
            return {name: _put(value, replace, where.inner(name)) for name, value in job_data.items()}
        return cast("dict[str, Any]", self._walk(self._roots, job_data, replace, where))

    def _walk(self, schemas: Iterable[Schema], value: Any, replace: Replace, where: Place) -> Any:
        met = list(self._met(schemas, value))
        if any(map(_is_marked, met)):
            return _put(value, replace, where)
        match value:
            case dict():
                return {
                    name: self._walk(_of_member(met, name), inner, replace, where.inner(name))
                    for name, inner in value.items()
                }
            case list():
                return [
                    self._walk(_of_item(met, at), inner, replace, where.inner(at))
                    for at, inner in enumerate(value)
                ]
            case _:
                return value

    def _met(self, schemas: Iterable[Schema], value: Any) -> Iterator[Schema]:
        """All schemas that speak of a value: references followed, each branch that may be meant."""
        waiting, seen = list(schemas), set[int]()
        while waiting:
            schema = waiting.pop()
            if id(schema) in seen:
                continue
            seen.add(id(schema))
            yield schema
            reference = schema.get("$ref", "")
            if reference.startswith(_DEFINED):
                waiting.append(self._defined[reference.removeprefix(_DEFINED)])
            waiting += self._branches(schema, value)

    def _branches(self, schema: Schema, value: Any) -> Iterator[Schema]:
        told = schema.get("discriminator")
        chosen = _chosen(told, value) if told else None
        if chosen is not None:
            yield {"$ref": chosen}
        for branch in ("allOf",) if chosen is not None else _BRANCHES:
            yield from schema.get(branch, ())


@cache
def marks_of(model: type[BaseModel] | None) -> Marks | None:
    """The marks of a job type's model; None if it has none, which then costs nothing.

    A value may stand under its field's name or under either of its aliases: as it was sent, or as the model spells it.
    """
    if model is None:
        return None
    schemas = [
        model.model_json_schema(
            by_alias=by_alias, mode=mode, ref_template=f"{_DEFINED}{at}/{{model}}", schema_generator=_Lenient
        )
        for at, (mode, by_alias) in enumerate(product(_MODES, (True, False)))
    ]
    return Marks(schemas) if any(map(_has_marks, schemas)) else None


def has_personal(model: type[BaseModel] | None, job_data: dict[str, Any]) -> bool:
    """Whether anything in data that fits the model is marked: then it needs a key."""
    marks = marks_of(model)
    if marks is None:
        return False
    return has_sealed(marks.replaced(job_data, lambda _, __: {"$personal": ""}, ""))


def sealed_data(
    model: type[BaseModel] | None, job_data: dict[str, Any], key: bytes, job_id: str
) -> dict[str, Any]:
    """The data as it is written: marked values sealed by the job's key; those that are sealed already stay."""
    marks = marks_of(model)
    if marks is None:
        return job_data
    return marks.replaced(job_data, lambda value, where: seal(value, key, where), job_id)


def _chosen(told: Schema, value: Any) -> str | None:
    """Which member of a union the value says that it is; None if it doesn't."""
    tag = value.get(told["propertyName"]) if isinstance(value, dict) else None
    chosen: str | None = told.get("mapping", {}).get(tag) if isinstance(tag, str) else None
    return chosen


def _put(value: Any, replace: Replace, where: Place) -> Any:
    return value if value is None or is_sealed(value) else replace(value, where)


def _of_member(met: Iterable[Schema], name: str) -> list[Schema]:
    """What is said of a member of an object; of patterns all, as more may be sealed than must."""
    found: list[Any] = []
    for schema in met:
        known = schema.get("properties", {})
        if name in known:
            found.append(known[name])
            continue
        found += schema.get("patternProperties", {}).values()
        found.append(schema.get("additionalProperties"))
    return [each for each in found if isinstance(each, dict)]


def _of_item(met: Iterable[Schema], at: int) -> list[Schema]:
    found: list[Any] = []
    for schema in met:
        first = schema.get("prefixItems", ())
        found.append(first[at] if at < len(first) else schema.get("items"))
    return [each for each in found if isinstance(each, dict)]


def _is_marked(schema: Schema) -> bool:
    return schema.get(X_PERSONAL) is True


def _has_marks(schema: Any) -> bool:
    match schema:
        case dict():
            return _is_marked(schema) or any(map(_has_marks, schema.values()))
        case list():
            return any(map(_has_marks, schema))
        case _:
            return False
