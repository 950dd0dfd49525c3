"""A server lets requests in flight end, and keeps nobody who waits for its end."""

import asyncio
import socket

import httpx
import pytest

from shared.lifecycle import Health, Stop, ops_app
from shared.metrics import Metrics
from shared.serving import bound_socket, serve


async def answer_after(seconds: float, answered: list, stop: Stop, grace_s: float) -> None:
    """Serve one request that takes `seconds`, with `stop` set while it is in flight."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        stop.set()
        await asyncio.sleep(seconds)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sock = bound_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    async with asyncio.timeout(5), asyncio.TaskGroup() as group, httpx.AsyncClient() as client:
        group.create_task(serve(app, sock, until=stop.wait, grace_s=grace_s))
        try:
            answered.append((await client.get(url)).status_code)
        except httpx.TransportError as error:
            answered.append(type(error))


async def test_a_request_in_flight_is_answered_when_the_server_stops():
    answered = []
    await answer_after(0.1, answered, Stop(), grace_s=3)
    assert answered == [200]


async def test_a_request_that_does_not_end_does_not_keep_the_server():
    answered = []
    await answer_after(60, answered, Stop(), grace_s=0.1)
    assert len(answered) == 1
    assert answered != [200]


async def test_a_server_that_is_cancelled_closes_its_port_and_leaves_no_task():
    before = asyncio.all_tasks()
    for steps in range(30):  # also while it is still starting
        sock = bound_socket("127.0.0.1", 0)
        address = sock.getsockname()
        app = ops_app("test", Health(), Metrics(version="1"))
        server = asyncio.create_task(serve(app, sock, until=asyncio.Event().wait))
        for _ in range(steps + 1):
            await asyncio.sleep(0)
        server.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await server
        assert asyncio.all_tasks() == before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=1)
