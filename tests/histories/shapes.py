"""The shape of each event class, as a fingerprint: fields, types and defaults, down into what they are made of."""

import enum
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import inspect

from shared.domain import events

WORDS = {"title", "description"}  # docstrings may change
SAMPLE_TIME = datetime(2026, 11, 23, 12, 0, 0, 123_000, tzinfo=UTC)


def shape_of(event):
    """SHA-256 of the class's JSON schema."""
    schema = _bare(msgspec.json.schema(event))
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()


def _bare(node):
    match node:
        case dict():
            inner = {name for name in node if name == "properties"}
            return {
                name: {key: _bare(each) for key, each in value.items()} if name in inner else _bare(value)
                for name, value in node.items()
                if name not in WORDS or not isinstance(value, str)
            }
        case list():
            return [_bare(each) for each in node]
        case _:
            return node


def now():
    """`<type> <version>` → shape, of all classes there are."""
    return {f"{event.__name__} {event.VERSION}": shape_of(event) for event in events.ALL}


def sample(event):
    """An event of this class with something in every field, as JSON."""
    return msgspec.json.encode(_valued(inspect.type_info(event))).decode()


def _valued(kind: inspect.Type) -> Any:
    match kind:
        case inspect.StructType(fields=fields):
            return {field.encode_name: _valued(field.type) for field in fields}
        case inspect.UnionType(types=types):
            return _valued(next(each for each in types if not isinstance(each, inspect.NoneType)))
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.EnumType(cls=cls):
            return next(iter(cls)).value
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return [_valued(item)]
        case inspect.TupleType(item_types=items):
            return [_valued(each) for each in items]
        case inspect.DictType(key_type=key, value_type=value):
            return {_valued(key): _valued(value)}
        case _:
            return _plain(kind)


def _plain(kind: inspect.Type) -> Any:
    plain = {
        inspect.StrType: "text",
        inspect.IntType: 7,
        inspect.FloatType: 1.5,
        inspect.BoolType: True,
        inspect.DateTimeType: SAMPLE_TIME,
        inspect.DateType: SAMPLE_TIME.date(),
        inspect.TimeType: SAMPLE_TIME.time(),
        inspect.NoneType: None,
        inspect.AnyType: {"of": ["any", 1, None]},
    }
    value = plain[type(kind)]
    assert not isinstance(value, enum.Enum)
    return value
