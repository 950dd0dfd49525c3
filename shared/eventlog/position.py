"""Where an event stands: `<epoch>-<pos>` in a partition, `<partition>:<epoch>-<pos>` to the outside."""

from __future__ import annotations

import re
from typing import NamedTuple

_TEXT = re.compile(r"(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})")
_PLACE = re.compile(r"(0|[1-9][0-9]{0,3}):(.+)")


class BadPosition(ValueError):  # noqa: N818 - named for what is wrong
    """A position is written `<partition>:<epoch>-<pos>`; several are joined by commas."""


class Position(NamedTuple):
    """Order within one partition. `epoch` names an incarnation of the log, `pos` grows by 1."""

    epoch: int
    pos: int

    def __str__(self) -> str:
        """As it stands in the log: the entry's id."""
        return f"{self.epoch}-{self.pos}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position written as `<epoch>-<pos>`.

        Raises:
            BadPosition: it is not.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise BadPosition(f"{text[:50]!r} is not a position; write <epoch>-<pos>")
        return cls(int(match[1]), int(match[2]))


START = Position(0, 0)  # before the first event of any log


def format_places(places: dict[int, Position]) -> str:
    """Positions in several partitions, as `Daybook-Position` carries them."""
    return ",".join(f"{partition}:{position}" for partition, position in sorted(places.items()))


def parse_places(text: str, *, partitions: int) -> dict[int, Position]:
    """The positions in `text`, one a partition.

    Raises:
        BadPosition: wrong form, a partition that is not there, or one named twice.
    """
    places: dict[int, Position] = {}
    for part in text.split(","):
        match = _PLACE.fullmatch(part.strip())
        if match is None or int(match[1]) >= partitions or int(match[1]) in places:
            raise BadPosition(f"{part[:50]!r} is not a position here; write <partition>:<epoch>-<pos>")
        places[int(match[1])] = Position.parse(match[2])
    return places
