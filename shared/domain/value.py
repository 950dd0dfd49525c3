"""What all values of the domain are made of: immutable, equal by content, and JSON at the speed of C.

A frozen dataclass of the run's size takes ten times as long to make and to change, and three times as long to write
and to read.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Value(msgspec.Struct, frozen=True, gc=False, rename=lambda name: name.rstrip("_")):
    """A value. Subclasses say `frozen=True, kw_only=True` themselves, for type checkers.

    In JSON a trailing underscore is left out: `from_` is `from`. The garbage collector doesn't look at values: nothing
    in one can lead back to it.
    """


def told(default: Any) -> Any:
    """A default that is written out in a class with `omit_defaults`, whatever another release may make of it.

    There JSON leaves out only what is plainly nothing: None, False, 0, "", and what is empty. (msgspec compares with a
    default by identity: of other values equal ones might be written or not, and a fold would differ from its snapshot.)
    """
    return msgspec.field(default_factory=lambda: default)
