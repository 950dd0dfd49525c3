"""What all values of the domain are made of: immutable, equal by content, and JSON at the speed of C.

A frozen dataclass of the run's size takes ten times as long to make and to change, and three times as long to write
and to read.
"""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True, gc=False, rename=lambda name: name.rstrip("_")):
    """A value. Subclasses say `frozen=True, kw_only=True` themselves, for type checkers.

    In JSON a trailing underscore is left out: `from_` is `from`. The garbage collector doesn't look at values: nothing
    in one can lead back to it.
    """
