"""Waiting for the replica: a list is not older than the position that the client has seen.

A replica lags behind its primary, so it is asked for its own checkpoints, until they are there or the client's
patience is over. Nobody tells of them: what the projector publishes is about the primary.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.api.ledger import Ledger
    from shared.eventlog.position import Position

LOOK_EVERY_S = 0.02


async def behind(ledger: Ledger, places: Mapping[int, Position], *, wait_s: float) -> str | None:
    """Wait until the replica has come to `places` (partition → position), at most `wait_s`.

    A newer epoch is beyond any older one: whether an older position is still part of history is for the archive to say.

    Returns:
        A place it hasn't come to; None if it has come to all of them.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    while True:
        marks = dict(await ledger.replica_checkpoints())
        missing = [
            f"{partition}:{position}"
            for partition, position in places.items()
            if partition not in marks or marks[partition] < position
        ]
        if not missing:
            return None
        if loop.time() >= until_s:
            return missing[0]
        await asyncio.sleep(min(LOOK_EVERY_S, max(0.0, until_s - loop.time())))
