"""Zone tables of another version: in a test, a country changes its mind."""

from __future__ import annotations

import importlib.resources
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

from shared.domain import schedule, walk, zones

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHOUT_DST = {"Europe/Berlin": "Etc/GMT-1"}  # winter time all year: POSIX's sign


@contextmanager
def tables(instead: dict[str, str]) -> Iterator[None]:
    """While this lasts, each of these zones is as the other one is."""
    files = importlib.resources.files
    real = files("tzdata")
    changed = mock.Mock()
    changed.joinpath = lambda folder, *parts: real.joinpath(
        folder, *instead.get("/".join(parts), "/".join(parts)).split("/") if parts else ()
    )
    try:
        with mock.patch.object(
            zones.importlib.resources, "files", lambda name: changed if name == "tzdata" else files(name)
        ):
            _forget()
            yield
    finally:
        _forget()


def _forget() -> None:
    for remembered in (zones.zone_named, walk.walk_of, schedule._fires):
        remembered.cache_clear()
