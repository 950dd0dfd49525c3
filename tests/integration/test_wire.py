"""Many share one connection for scripts: each gets its own replies, whatever happens to the others or to the line."""

import asyncio
import contextlib

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.eventlog.connection import connect
from shared.eventlog.wire import Wire
from shared.faults import is_broken

PING = ("PING",)
NOBODY_PUSHES = ("BLPOP", "wire:nobody-pushes", 2)


@pytest.fixture
async def redis(valkey):
    client = connect(valkey.endpoint.url)
    yield client
    await client.aclose()


@pytest.fixture
def wire(redis):
    made = Wire(redis)
    yield made
    made.close()


@pytest.fixture
def blocking(redis):
    made = Wire(redis, blocking=True)
    yield made
    made.close()


async def id_of(wire):
    """How the server calls its connection."""
    (number,) = await wire.call(("CLIENT", "ID"))
    return number


async def blocked(redis, wire, *, number):
    """Begin a read that nothing ends, and return when the server has it."""
    waiting = asyncio.create_task(wire.call(NOBODY_PUSHES))

    async def has_it():
        return b"cmd=blpop" in await redis.execute_command("CLIENT", "LIST", "ID", number)

    for _ in range(1000):
        if await has_it():
            return waiting
        await asyncio.sleep(0.005)
    raise AssertionError("the server has not seen the read")


async def test_each_of_many_callers_gets_the_replies_to_its_own_commands(wire):
    async def ask(number):
        return await wire.call(("ECHO", f"a{number}"), ("ECHO", b"b" * (number * 1000)), ("ECHO", number))

    replies = await asyncio.gather(*(ask(number) for number in range(100)))
    assert replies == [[b"a%d" % n, b"b" * (n * 1000), b"%d" % n] for n in range(100)]


async def test_who_comes_first_together_shares_one_connection(wire):
    assert len(set(await asyncio.gather(*(id_of(wire) for _ in range(10))))) == 1


async def test_an_error_stands_in_its_place_and_costs_the_others_nothing(wire):
    first, error, last = await wire.call(PING, ("NOT-A-COMMAND",), PING)
    assert (first, last) == (b"PONG", b"PONG")
    assert isinstance(error, ResponseError)
    with pytest.raises(ResponseError, match="unknown command"):
        await wire.replies(PING, ("NOT-A-COMMAND",))
    with pytest.raises(NoScriptError):
        await wire.replies(("EVALSHA", "0" * 40, 0))
    assert await wire.replies(PING) == [b"PONG"]


async def test_a_lost_connection_fails_all_that_wait_and_the_next_call_makes_another(redis, blocking):
    number = await id_of(blocking)
    waiting = await blocked(redis, blocking, number=number)
    behind = asyncio.create_task(blocking.call(PING))
    await redis.execute_command("CLIENT", "KILL", "ID", number)
    for task in (waiting, behind):
        with pytest.raises(RedisConnectionError):
            await task
    assert await id_of(blocking) != number


async def test_a_reply_that_comes_too_late_is_not_taken_for_another(redis, wire):
    number = await id_of(wire)
    wire._timeout_s = 0.05
    with pytest.raises(RedisTimeoutError):
        await wire.call(NOBODY_PUSHES)
    wire._timeout_s = 5
    await redis.rpush(NOBODY_PUSHES[1], "late")
    assert await wire.call(PING) == [b"PONG"]
    assert await id_of(wire) != number
    await redis.delete(NOBODY_PUSHES[1])


async def test_the_reply_to_a_caller_who_left_is_dropped(wire):
    number = await id_of(wire)
    leaving = asyncio.create_task(wire.call(("ECHO", "nobody's")))
    staying = asyncio.create_task(wire.call(("ECHO", "mine")))
    await asyncio.sleep(0)  # both are on their way
    leaving.cancel()
    assert await staying == [b"mine"]
    assert leaving.cancelled()
    assert await id_of(wire) == number


async def test_nobody_waits_behind_a_read_that_was_given_up(redis, blocking):
    number = await id_of(blocking)
    waiting = await blocked(redis, blocking, number=number)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(1):  # the read would have lasted two
        assert await blocking.call(PING) == [b"PONG"]


async def test_whoever_waits_when_it_is_closed_is_told(redis, blocking):
    waiting = await blocked(redis, blocking, number=await id_of(blocking))
    blocking.close()
    with pytest.raises(RedisConnectionError):
        await waiting
    assert await blocking.call(PING) == [b"PONG"]


async def test_what_does_not_speak_redis_is_hung_up_on():
    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError):
            while asked := await reader.read(1000):
                writer.write(
                    b"HTTP/1.1 400 Bad Request\r\n\r\n" if spoiled else b"+OK\r\n" * asked.count(b"*")
                )
        writer.close()
        hung_up.set()

    spoiled, hung_up = [], asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    client = connect(f"redis://{host}:{port}")
    wire = Wire(client)
    assert (await wire.call(PING))[0] == b"OK"
    spoiled.append(True)
    with pytest.raises(RedisConnectionError):
        await wire.call(PING)
    await asyncio.wait_for(hung_up.wait(), 5)
    await client.aclose()
    server.close()


@pytest.mark.parametrize("word", ["LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "MISCONF"])
async def test_a_server_that_is_not_ready_yet_is_waited_for(word):
    """Found by the fault suite: a killed server that was loading again ended the executors that had a line to it."""

    async def serve(reader, writer):
        while asked := await reader.read(1000):
            writer.write(b"-%s it passes\r\n" % word.encode() if ready else b"+OK\r\n" * asked.count(b"*"))
        writer.close()

    ready = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    client = connect(f"redis://{host}:{port}")
    wire = Wire(client)
    await wire.replies(PING)
    ready.append(True)
    with pytest.raises(RedisError) as raised:
        await wire.replies(PING)
    assert is_broken(raised.value)
    wire.close()
    await client.aclose()
    server.close()


async def test_nobody_to_connect_to_is_an_error_of_connections(unused_tcp_port):
    client = connect(f"redis://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(RedisConnectionError):
        await Wire(client).call(PING)
    await client.aclose()


async def test_connections_end_with_their_wire(redis, valkey):
    client = connect(valkey.endpoint.url)
    wire = Wire(client)
    number = await id_of(wire)
    wire.close()

    async def gone():
        return not await redis.execute_command("CLIENT", "LIST", "ID", number)

    for _ in range(1000):
        if await gone():
            break
        await asyncio.sleep(0.005)
    assert await gone()
    await client.aclose()
