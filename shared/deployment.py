"""What must hold before a process works on its stores: they belong together, and keep what they acknowledge.

Each finding stops the start with a sentence that says what to change (DESIGN §5.1, §9).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from shared.domain import ids
from shared.eventlog.cluster import Cluster, masters, members
from shared.eventlog.keys import Keys
from shared.faults import BROKEN, Fatal
from shared.readmodel import archive, database

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from redis.asyncio import Redis

    from shared.settings import Settings

SKEW_MAX_MS = 2_000
OLDEST_REDIS = (7, 0)
_WANTED = {
    "appendonly": ("yes", "events that were acknowledged would be lost with the process"),
    "no-appendfsync-on-rewrite": ("no", "nothing would reach the disk while the file is rewritten"),
    "maxmemory-policy": ("noeviction", "keys of live jobs would be thrown away"),
}


_ONE_OF_A_CLUSTER = (
    "DAYBOOK_REDIS_URL is the address of one server, but that is a node of a Redis Cluster, which has only a part of "
    "the keys: write it as redis+cluster://host:port,host:port (or rediss+cluster://), with some of its nodes."
)


async def check_deployment(connection: archive.Connection, redis: Redis, settings: Settings) -> None:
    """Record what the first start fixes, and compare it with what this process was told.

    Raises:
        Fatal: another number of partitions, or another prefix, than the deployment was opened with.
    """
    await archive.record_deployment(connection, partitions=settings.partitions, prefix=settings.prefix)
    fixed = await archive.deployment(connection)
    if fixed.partitions != settings.partitions:
        raise Fatal(_other_partitions(settings.partitions, fixed.partitions))
    if fixed.prefix != settings.prefix:
        raise Fatal(
            f"DAYBOOK_PREFIX={settings.prefix}, but this database belongs to the deployment with the prefix "
            f"{fixed.prefix}: set it back, or use another database."
        )
    in_redis = await redis.hget(Keys(settings.prefix, 0).meta, "partitions")
    if in_redis is not None and int(in_redis) != settings.partitions:
        raise Fatal(_other_partitions(settings.partitions, int(in_redis)))


async def check_durability(connection: archive.Connection, redis: Redis, now: Callable[[], datetime]) -> None:
    """Assert what "nothing acknowledged is lost" needs of both servers, and that the clocks agree.

    Args:
        connection: to Postgres.
        redis: a client for commands.
        now: this machine's time.

    Raises:
        Fatal: saying what to change.
    """
    await database.assert_durable(connection)
    await check_servers(redis, now)


async def check_servers(redis: Redis, now: Callable[[], datetime]) -> None:
    """The part of `check_durability` that is Redis's: each server of a Cluster must be fit, replicas too.

    Raises:
        Fatal: saying what to change.
    """
    written = await masters(redis)
    if not isinstance(redis, Cluster) and (await redis.info("cluster")).get("cluster_enabled"):
        raise Fatal(_ONE_OF_A_CLUSTER)
    for server in written:
        await _check_server(server)
        await _check_clock(server, now)
    for server in await members(redis):  # a replica may be a master soon
        if server not in written:
            with contextlib.suppress(*BROKEN):
                await _check_server(server)


async def _check_server(redis: Redis) -> None:
    await _check_version(redis)
    for name, (wanted, otherwise) in _WANTED.items():
        said = await _setting(redis, name)
        if said is not None and said != wanted:
            raise Fatal(f"Redis has {name} {said}: {otherwise}. Set {name} {wanted}.")


async def _check_clock(redis: Redis, now: Callable[[], datetime]) -> None:
    seconds, micros = await redis.time()
    skew_ms = ids.to_ms(now()) - (seconds * 1000 + micros // 1000)
    if abs(skew_ms) > SKEW_MAX_MS:
        raise Fatal(
            f"This machine's clock is {skew_ms / 1000:+.1f} s off that of Redis; {SKEW_MAX_MS // 1000} s are "
            "allowed. Have both set by NTP."
        )


def _other_partitions(told: int, fixed: int) -> str:
    return (
        f"DAYBOOK_PARTITIONS={told}, but the deployment was opened with {fixed}, and ids name their "
        f"partition: set DAYBOOK_PARTITIONS={fixed}."
    )


async def _check_version(redis: Redis) -> None:
    version = str((await redis.info("server"))["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise Fatal(f"Redis {version} is too old: Daybook needs Redis 7.0 or Valkey 7.2, or newer.")


async def _setting(redis: Redis, name: str) -> str | None:
    """A setting of the server; None where a managed service hides it and nothing else tells."""
    try:
        return str((await redis.config_get(name))[name])
    except (ResponseError, KeyError):
        if name == "appendonly":
            return "yes" if (await redis.info("persistence"))["aof_enabled"] else "no"
        if name == "maxmemory-policy":
            return str((await redis.info("memory")).get("maxmemory_policy", "noeviction"))
        return None
