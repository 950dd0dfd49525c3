"""A connection that is reset just before something is written to it, on the loop that services run on.

Found by the fault suite: uvloop raises RuntimeError then, which ended the service as a defect would.
"""

import asyncio

import asyncpg
import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.eventlog.connection import connect
from shared.eventlog.wire import Wire
from shared.faults import is_broken
from shared.testing import wait_until


def on_uvloop(work):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def reset(transport):
    transport.abort()
    await wait_until(lambda: "closed=True" in repr(transport), "the loop has closed it")


def test_a_command_on_a_connection_that_was_just_reset_is_broken_infrastructure(valkey):
    async def work():
        client = connect(valkey.endpoint.url)
        connection = await client.connection_pool.get_connection()
        await reset(connection._writer.transport)
        with pytest.raises(RedisConnectionError):
            await connection.send_command("PING")
        await client.connection_pool.release(connection)
        assert await client.ping()
        await client.aclose()

    on_uvloop(work())


def test_a_wire_that_was_just_reset_is_made_again(valkey):
    async def work():
        client = connect(valkey.endpoint.url)
        wire = Wire(client)
        await wire.replies(("PING",))
        await reset(wire._line._transport)
        assert await wire.replies(("PING",)) == [b"PONG"]
        wire.close()
        await client.aclose()

    on_uvloop(work())


def test_a_query_on_a_connection_that_was_just_reset_is_broken_infrastructure(postgres):
    async def work():
        connection = await asyncpg.connect(postgres.endpoint.url)
        await reset(connection._transport)
        with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever asyncpg makes of it
            await connection.fetchval("select 1")
        assert is_broken(raised.value), repr(raised.value)

    on_uvloop(work())
