"""YAML as JSON's other spelling: what JSON has no value for is a text, and a key stands once.

PyYAML speaks YAML 1.1, in which `on` is true, 12:30 is 750 and 2026-01-01 is a date. Here only `true`, `false`, `null`
and numbers are more than texts, as in YAML 1.2.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_PLAIN = (
    ("null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""]),
    ("bool", re.compile(r"^(?:true|false)$"), list("tf")),
    ("int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    (
        "float",
        re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    ),
    ("merge", re.compile(r"^<<$"), ["<"]),
)


class BadYaml(ValueError):  # noqa: N818 - named for what is wrong
    """Not YAML, or with a key that stands twice; says where."""


class _Loader(yaml.SafeLoader):
    """With the values of JSON only."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's way of telling

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        seen = set()
        for key, _ in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return {str(name): value for name, value in super().construct_mapping(node, deep).items()}


def _whole(loader: _Loader, node: Any) -> int:
    return int(loader.construct_scalar(node))


class _Dumper(yaml.SafeDumper):
    """Quotes what either kind of YAML would not read as a text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's
        return True


for _name, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, _first)
_Loader.add_constructor(f"{_TAG}int", _whole)  # 010 is ten
_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar(f"{_TAG}str", text, style=_style(text))
)


def _style(text: str) -> str | None:
    """Lines as lines; with escapes where there is something that YAML might take for the end of one."""
    if not text.replace("\n", "").isprintable():
        return '"'
    return "|" if "\n" in text else None


def load_all(text: str) -> list[Any]:
    """The documents in `text`, those that are empty left out.

    Raises:
        BadYaml: see there.
    """
    try:
        return [each for each in yaml.load_all(text, _Loader) if each is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadYaml(" ".join(str(error).split()) or type(error).__name__) from None


def load(text: str) -> Any:
    """The one document in `text`; None if it is empty.

    Raises:
        BadYaml: see there, or there are several.
    """
    found = load_all(text)
    if len(found) > 1:
        raise BadYaml("there are several documents, apart by ---; write one")
    return found[0] if found else None


def dump(value: Any) -> str:
    """JSON values as YAML, in the order in which they stand."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
