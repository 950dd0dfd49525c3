"""Streams of a real API process: a client that takes nothing costs little, and none keeps the process from ending."""

import asyncio
import contextlib
import os
import socket
import time

import pytest

from shared.eventlog.position import parse_places
from shared.testing import wait_until
from tests.acceptance.scrapes import scrape
from tests.acceptance.system import Service
from tests.integration.api_stage import stage_on
from tests.integration.stream_kit import Served, deaf, flood

DRAIN_S = 2
MANY = 50_000
MB = 1024 * 1024


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def api(stage, tmp_path):
    """`daybook api` over the stage's stores; `url` is where it listens."""
    listening = socket.create_server(("127.0.0.1", 0))
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
    environment = ours | {
        "DAYBOOK_REDIS_URL": stage.redis_url,
        "DAYBOOK_DATABASE_URL": stage.database_url,
        "DAYBOOK_PREFIX": stage.prefix,
        "DAYBOOK_PARTITIONS": str(stage.partitions),
        "DAYBOOK_LOG_FORMAT": "json",
        "DAYBOOK_DRAIN_SECONDS": str(DRAIN_S),
    }
    service = Service("api-1", environment, tmp_path, listening.fileno())
    service.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    service.spawn()
    try:
        await wait_until(service.is_up, "the API serves", timeout_s=30)
        yield service
    finally:
        if service.process.poll() is None:
            service.kill()
        listening.close()


async def rest_of(client):
    """All that is still sent to it, until it is hung up on."""
    loop, texts = asyncio.get_running_loop(), []
    with contextlib.suppress(ConnectionError):
        while text := await loop.sock_recv(client, 1 << 20):
            texts.append(text)
            if text.endswith(b"\r\n0\r\n\r\n"):
                break
    return b"".join(texts).decode()


async def told(api, name):
    page = await asyncio.to_thread(scrape, api.url)
    return page.value(name, {})


async def resident_mb(api):
    statm = await asyncio.to_thread(open, f"/proc/{api.pid}/statm")
    with statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / MB


async def test_a_client_that_takes_nothing_costs_little_and_is_told_where_it_stood(stage, api):
    await stage.stop_projector()
    async with Served(api.url).stream() as reader:
        with await deaf(api.url) as client:
            begun = reader.last_id
            await flood(stage, 200)
            await reader.has(200)
            before = await resident_mb(api)
            await flood(stage, MANY)
            await reader.has(200 + MANY)
            assert await resident_mb(api) - before < 40
            assert await told(api, "event_streams") == 2
            text = await rest_of(client)
    last, reset = text.split("\nevent: reset\nid: ")
    where = reset.split("\n")[0]
    assert f"\nid: {where}\nevent: io.daybook.job.paused\n" in last[last.rindex("\nid: ") - 1 :]
    assert await told(api, "event_stream_resets_total") == 1
    begin = parse_places(begun, partitions=2)[0].pos
    stood = parse_places(where, partitions=2)[0].pos
    assert last.count("\ndata: ") <= stood - begin < MANY
    async with Served(api.url).stream(after=where) as again:
        await again.has(1)
        assert parse_places(again.messages[0].id, partitions=2)[0].pos == stood + 1


async def test_clients_that_hang_up_leave_their_seats_and_the_others_end_with_the_process(api):
    async def seats():
        return await told(api, "event_streams")

    async def left():
        return await seats() == 0

    for _ in range(3):
        clients = [await deaf(api.url) for _ in range(4)]
        assert await seats() == 4
        for client in clients:
            client.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )  # a reset, no farewell
            client.close()
        await wait_until(left, "all have left")
    async with contextlib.AsyncExitStack() as stack:
        served = Served(api.url)
        clients = [await stack.enter_async_context(served.stream()) for _ in range(3)]
        began = time.monotonic()
        assert await asyncio.to_thread(api.terminate) == 0
        assert time.monotonic() - began < DRAIN_S
        for client in clients:
            await client.over()


async def test_a_client_that_takes_nothing_keeps_no_process_from_ending(stage, api):
    """It has until the end of the drain to take what was written for it."""
    await stage.stop_projector()
    async with Served(api.url).stream() as reader:
        with await deaf(api.url):
            await flood(stage, MANY // 2)
            await reader.has(MANY // 2)
            assert await told(api, "event_streams") == 2
            assert await told(api, "event_stream_resets_total") == 0  # there is no telling it
            began = time.monotonic()
            assert await asyncio.to_thread(api.terminate) == 0
            assert time.monotonic() - began < DRAIN_S + 3
