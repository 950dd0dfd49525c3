"""Bounded waits, and words on stderr while they last."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
EVERY_S = 0.02


class TooLongError(Exception):
    """What a bench waited for didn't come."""


async def until(
    look: Callable[[], Awaitable[T | None]], what: str, *, timeout_s: float, every_s: float = EVERY_S
) -> T:
    """Look again and again until there is something; return it.

    Raises:
        TooLongError: there was nothing within `timeout_s`.
    """
    end = time.monotonic() + timeout_s
    while not (found := await look()):
        if time.monotonic() > end:
            raise TooLongError(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(every_s)
    return found


async def sleep_until(at_s: float) -> None:
    """Sleep until a wall-clock time (Unix s)."""
    await asyncio.sleep(max(0.0, at_s - time.time()))


def say(text: str) -> None:
    """Tell whoever waits what goes on."""
    print(f"  {text}", file=sys.stderr, flush=True)
