"""The network that the fault suite breaks: it breaks when told to, and only then."""

import asyncio
import contextlib

import pytest

from shared.testing import wait_until

from .proxy import DOWN, UP, Network


@pytest.fixture
async def line():
    """A proxy before a server that answers each line with itself, and what that server has heard."""
    heard, ended = [], []

    async def answer(reader, writer):
        while text := await reader.readline():
            heard.append(text)
            writer.write(text)
        ended.append(True)
        writer.close()

    network = Network()
    network.start()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    proxy = network.proxy(server.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield proxy, reader, writer, heard, ended
    writer.close()
    server.close()
    network.stop()


async def done(proxy):
    """All that the proxy was told is done: its loop is another thread's, and takes one thing after the other."""
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), proxy._loop))


async def test_what_is_held_comes_later_in_order(line):
    proxy, reader, writer, heard, _ = line
    proxy.hold({DOWN})
    writer.write(b"one\ntwo\n")
    await wait_until(lambda: len(heard) == 2, "the server has heard both")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readline(), 0.2)
    proxy.release()
    assert [await reader.readline(), await reader.readline()] == [b"one\n", b"two\n"]


async def test_a_client_that_goes_behind_a_cut_is_there_until_the_cut_is_over(line):
    proxy, reader, writer, _, ended = line
    writer.write(b"one\n")
    await reader.readline()  # whoever closes with an answer unread resets the connection
    proxy.hold()
    await done(proxy)
    writer.close()
    await asyncio.sleep(0.2)
    assert not ended
    proxy.release()
    await wait_until(lambda: ended, "the server sees the end")


async def test_a_delay_delays(line):
    proxy, reader, writer, *_ = line
    proxy.delay(0.2)
    await done(proxy)
    began = asyncio.get_running_loop().time()
    writer.write(b"one\n")
    assert await reader.readline() == b"one\n"
    assert 0.4 <= asyncio.get_running_loop().time() - began < 2


async def test_a_reset_is_heard_as_one(line):
    proxy, reader, writer, heard, _ = line
    writer.write(b"one\n")
    await reader.readline()
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await reader.readline()
    assert heard == [b"one\n"]


@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_a_torn_answer_never_arrives_whole(line, direction):
    proxy, reader, writer, heard, _ = line
    writer.write(b"one\n")
    await reader.readline()
    proxy.tear(direction)
    await done(proxy)
    writer.write(b"another\n")
    with contextlib.suppress(ConnectionResetError):
        assert await reader.readline() != b"another\n"
    assert (b"another\n" in heard) is (direction == DOWN)
