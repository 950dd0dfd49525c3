"""How Daybook connects to Redis. One client a process for commands, one for each kind of blocking read."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

COMMAND_TIMEOUT_S = 5
BLOCK_MAX_S = 2  # no blocking command asks for longer, so that a stop is never far off
BLOCKING_TIMEOUT_S = BLOCK_MAX_S + 5  # longer than the block, or every quiet second looks like a dead server


def connect(url: str, *, blocking: bool = False, connections: int = 64) -> Redis:
    """A client of bytes, with hiredis.

    It never repeats a command by itself: repeating is the writer's affair, which numbers its batches; all other
    callers stand in a loop that comes round again.

    Args:
        url: `redis://…`.
        blocking: for BLPOP and XREAD BLOCK of at most BLOCK_MAX_S; else a command fails after COMMAND_TIMEOUT_S.
        connections: at most so many; a caller waits for a free one.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=COMMAND_TIMEOUT_S,
        socket_timeout=BLOCKING_TIMEOUT_S if blocking else COMMAND_TIMEOUT_S,
        socket_connect_timeout=COMMAND_TIMEOUT_S,
        socket_keepalive=True,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
        protocol=2,
    )
    return Redis.from_pool(pool)
