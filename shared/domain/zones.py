"""Zones: which there are, and what a wall clock in one reads when its offset from UTC changes."""

from __future__ import annotations

import importlib.resources
import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

SECOND = timedelta(seconds=1)


class UnknownZone(ValueError):  # noqa: N818 - an answer to a client, like a refusal
    """There is no zone of this name; the message is a sentence for the client."""


@cache
def zone_named(key: str) -> ZoneInfo:
    """A zone of the `tzdata` package: zoneinfo by itself prefers the system's, often older, tables."""
    if key not in _zone_names():
        raise UnknownZone(f"{key[:80]!r} is no IANA time zone such as 'Europe/Berlin'")
    table = importlib.resources.files("tzdata").joinpath("zoneinfo", *key.split("/"))
    with table.open("rb") as stream:
        return ZoneInfo.from_file(stream, key=key)


@cache
def tables_version() -> str:
    """The version of the `tzdata` package that this process has its zones from, such as 2026.1."""
    return str(importlib.import_module("tzdata").__version__)


def is_newer(version: str, than: str) -> bool:
    """Whether a version of the package came out after another: 2025.10 after 2025.9."""
    return _numbers(version) > _numbers(than)


@cache
def _zone_names() -> frozenset[str]:
    names = importlib.resources.files("tzdata").joinpath("zones").read_text(encoding="ascii").split()
    return frozenset(names) - {"Factory"}  # the zone of a machine nobody has set up


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChange:
    """A change of a wall clock from one UTC offset to another."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def is_gap(self) -> bool:
        """Whether the clock is put forward and leaves times of day out; else it shows some twice."""
        return self.after > self.before

    @property
    def wall_before(self) -> datetime:
        """What the clock would have read at the change."""
        return self.at.replace(tzinfo=None) + self.before

    @property
    def wall_after(self) -> datetime:
        """What it reads."""
        return self.at.replace(tzinfo=None) + self.after


def change_around(zone: ZoneInfo, wall: datetime) -> ClockChange | None:
    """The change because of which a clock in `zone` reads `wall` twice or never; None if it reads it once."""
    before, after = offset_at(zone, wall, fold=0), offset_at(zone, wall, fold=1)
    if before == after:
        return None
    start = instant_at(
        wall, max(before, after)
    )  # PEP 495: the change comes after this and by |after - before|
    last_s = abs(after - before) // SECOND
    moved_s = bisect_left(
        range(last_s),
        True,
        key=lambda second: (start + second * SECOND).astimezone(zone).utcoffset() != before,
    )
    return ClockChange(at=start + moved_s * SECOND, before=before, after=after)


def offset_at(zone: ZoneInfo, wall: datetime, *, fold: int) -> timedelta:
    """The offset from UTC of a clock in `zone` that reads `wall`, for the first time or (fold 1) the second."""
    offset = wall.replace(tzinfo=zone, fold=fold).utcoffset()
    assert offset is not None  # noqa: S101 - a zone has one at any time
    return offset


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", version)]


def instant_at(wall: datetime, offset: timedelta) -> datetime:
    """When a clock with this offset reads `wall`."""
    return (wall - offset).replace(tzinfo=UTC)
