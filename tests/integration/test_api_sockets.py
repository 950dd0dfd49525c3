"""Clients that send too much or too slowly, on real sockets."""

import asyncio
import contextlib
import socket
import time

import pytest

from services.api import large_bodies
from services.api.app import HEADERS_MAX, QUERY_MAX
from services.api.body_sizes import BODY_MAX
from shared.loop import Stop
from shared.serving import bound_socket, serve

from .api_stage import stage_on

HEAD = b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
DRIBBLE_S = 0.05
IDLE_S, BODY_S = 0.5, 1


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, body_seconds=BODY_S) as made:
        yield made


@pytest.fixture
async def port(stage):
    """Where the application is served."""
    stop, sock = Stop(), bound_socket("127.0.0.1", 0)
    number = sock.getsockname()[1]
    server = asyncio.create_task(serve(stage.app, sock, until=stop.wait, grace_s=1, idle_s=IDLE_S))
    yield number
    stop.set()
    async with asyncio.timeout(5):
        await server


async def answered(port, *parts, pause_s=0.0):
    """Send all parts unless the connection goes first; what came back until it was closed."""
    async with asyncio.timeout(15):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def send():
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(pause_s)

        sending = asyncio.create_task(send())
        try:
            return await reader.read()
        finally:
            sending.cancel()
            writer.close()


def answered_at_last(port, parts):
    """Send all parts, and only then look at what has come back."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as sock:
        for part in parts:
            sock.sendall(part)
        told = b""
        while data := sock.recv(65_536):
            told += data
            if told.endswith(b"}"):
                break
        return told


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def announced(size):
    return HEAD + f"Content-Length: {size}\r\n\r\n".encode()


MEGABYTE = b" " * 1_000_000


TOO_LARGE = {
    "announced": (announced(BODY_MAX + 1), b" " * (BODY_MAX + 1)),
    "announced, 20 MB": (announced(20_000_000), *[MEGABYTE] * 20),
    "in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk(MEGABYTE), b"0\r\n\r\n"),
    "in chunks, 20 MB": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk(MEGABYTE)] * 20, b"0\r\n\r\n",
    ),
}  # fmt: skip


async def test_a_body_that_is_too_large_is_refused_in_words_to_whoever_sends_it_all(port):
    """As most do: such a client loses an answer that it hasn't read when the connection is reset."""
    for name, parts in TOO_LARGE.items():
        told = await asyncio.to_thread(answered_at_last, port, parts)
        head, _, body = told.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 "), name
        assert b"/problems/too-large" in body, name


async def test_the_answer_is_there_before_the_client_has_sent_all(port):
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(announced(20_000_000) + b" ")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()


async def test_who_sends_without_end_is_cut_off(port, monkeypatch):
    monkeypatch.setattr(large_bodies, "DISCARD_MAX", 2_000_000)
    endless = (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk(MEGABYTE)] * 100)
    with contextlib.suppress(ConnectionError):
        assert b" 413 " in await answered(port, *endless, pause_s=0.001)


async def test_who_stops_in_the_middle_of_what_is_not_wanted_is_let_go(port, monkeypatch):
    monkeypatch.setattr(large_bodies, "DISCARD_S", 0.2)
    began = time.monotonic()
    assert b" 413 " in await answered(port, announced(20_000_000))
    assert time.monotonic() - began < 5


async def test_a_body_that_comes_too_slowly_is_given_up(port):
    head, _, body = (await answered(port, announced(10_000), *[b" "] * 200, pause_s=DRIBBLE_S)).partition(
        b"\r\n\r\n"
    )
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"within 1 s" in body


@pytest.mark.parametrize("before", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "next"])
async def test_a_head_that_comes_too_slowly_is_given_up(port, before):
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        told = await answered(
            port, before, *[each.to_bytes(1, "big") for each in HEAD * 2], pause_s=DRIBBLE_S
        )
        assert told.count(b"HTTP/1.1") == bool(before)
    assert IDLE_S * 0.9 < time.monotonic() - began < 5


async def test_a_connection_that_is_used_in_time_stays(port):
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(4):
            await asyncio.sleep(IDLE_S / 3)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 ")
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()


async def test_a_head_that_is_too_large_is_refused(port):
    for line, extra, status in (
        (b"GET /livez?" + b"x" * (QUERY_MAX + 1), b"", b"414"),
        (b"GET /livez", b"X-Long: " + b"x" * HEADERS_MAX + b"\r\n", b"431"),
        (b"GET /livez", b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(2000)), b"431"),
    ):
        told = await answered(port, line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + extra + b"\r\n")
        assert told.startswith(b"HTTP/1.1 " + status)
