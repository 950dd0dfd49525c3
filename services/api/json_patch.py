"""Two JSON values: one merged over the other (RFC 7396), and what differs between them (RFC 6901 pointers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.personal.sealing import is_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSENT = object()  # JSON's null is a value


def merged(target: Any, patch: Any) -> Any:
    """`patch` merged over `target`, neither of which changes: null takes a member away, all but objects replace."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def differences(old: Any, new: Any, pointer: str = "") -> Iterator[dict[str, Any]]:
    """What differs, by pointer: `from` and `to`, of which one is missing where there is nothing on that side.

    Objects are compared member by member, in the order of the names; lists, and what is sealed, as a whole.
    """
    if isinstance(old, dict) and isinstance(new, dict) and not (is_sealed(old) or is_sealed(new)):
        for name in sorted(old.keys() | new.keys()):
            below = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            yield from differences(old.get(name, ABSENT), new.get(name, ABSENT), below)
    elif not _same(old, new):
        sides = (("from", old), ("to", new))
        yield {"pointer": pointer, **{side: value for side, value in sides if value is not ABSENT}}


def _same(old: Any, new: Any) -> bool:
    """As JSON: 1 and 1.0 are the same number, and neither is `true`, which Python says."""
    match old, new:
        case bool(), _:
            return old is new
        case _, bool():
            return False
        case list(), list():
            return len(old) == len(new) and all(map(_same, old, new))
        case dict(), dict():
            return old.keys() == new.keys() and all(_same(old[name], new[name]) for name in old)
        case _:
            return bool(old == new)
