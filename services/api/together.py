"""Many things done at once, so that commits and round trips are shared."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar, cast

from shared.eventlog.position import format_places

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from services.api.writes import Written
    from shared.eventlog.position import Position

T = TypeVar("T")


async def all_of(works: Iterable[Awaitable[T]], *, at_once: int = 0) -> list[T]:
    """What all of them return, in order; what the first that failed raises, once the others have ended too.

    Args:
        works: to be done.
        at_once: no more than so many; 0 for all.
    """
    turns = asyncio.Semaphore(at_once) if at_once else None

    async def in_turn(work: Awaitable[T]) -> T:
        if turns is None:
            return await work
        async with turns:
            return await work

    results = await asyncio.gather(*map(in_turn, works), return_exceptions=True)
    for each in results:
        if isinstance(each, BaseException):
            raise each
    return cast("list[T]", results)


def places(written: Iterable[Written]) -> str:
    """The last position in each partition, as `Daybook-Position` carries them; '' if there is none."""
    found: dict[int, Position] = {}
    for each in written:
        partition = each.decided.partition
        found[partition] = max(each.position, found.get(partition, each.position))
    return format_places(found)
