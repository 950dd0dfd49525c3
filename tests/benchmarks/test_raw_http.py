"""The client of the benches keeps its connection and takes an answer for one only when all of it is there."""

import asyncio

import pytest

from .raw_http import BadAnswerError, Connection, request

ANSWER = b'HTTP/1.1 201 \r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n{"id":1}'


class Wire(asyncio.Transport):
    """Where a connection writes to."""

    def __init__(self):
        self.written, self.closed = b"", False

    def write(self, data):
        self.written += data

    def close(self):
        self.closed = True


@pytest.fixture
def connection():
    made = Connection()
    made.connection_made(Wire())
    return made


async def sent(connection):
    task = asyncio.ensure_future(connection.send(request("GET", "/")))
    await asyncio.sleep(0)
    return task


async def test_an_answer_may_come_in_any_pieces(connection):
    for cut in range(1, len(ANSWER)):
        task = await sent(connection)
        connection.data_received(ANSWER[:cut])
        assert not task.done()
        connection.data_received(ANSWER[cut:])
        assert await task == (201, b'{"id":1}')
    assert not connection.is_closed


async def test_a_connection_that_the_server_closes_is_not_used_again(connection):
    task = await sent(connection)
    connection.data_received(b"HTTP/1.1 204 \r\nConnection: close\r\n\r\n")
    assert await task == (204, b"")
    assert connection.is_closed
    with pytest.raises(ConnectionError):
        await connection.send(b"")


async def test_a_connection_that_is_lost_ends_the_wait_for_its_answer(connection):
    task = await sent(connection)
    connection.data_received(ANSWER[:20])
    connection.connection_lost(None)
    with pytest.raises(ConnectionError):
        await task


@pytest.mark.parametrize("strange", [ANSWER + ANSWER, b"HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n"])
async def test_what_it_does_not_speak_is_refused_aloud(connection, strange):
    task = await sent(connection)
    connection.data_received(strange)
    with pytest.raises(BadAnswerError):
        await task


def test_a_request_says_how_long_its_body_is():
    assert request("POST", "/a", b"{}").endswith(
        b"\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
    )
    assert b"Content-Length: 0\r\n" in request("POST", "/a")
