"""What a service waits for as it starts, rather than end."""

import asyncio
import json
import secrets
import subprocess
import sys

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from services.__main__ import _frame
from shared import settings
from shared.eventlog.log import EventLog
from shared.loop import Stop
from shared.metrics import Metrics
from shared.ops import Health
from shared.readmodel import database
from shared.testing import wait_until
from tests.integration.databases import a_database


@pytest.fixture
async def bare(valkey, postgres):
    async with a_database(postgres, migrated=False) as url:
        yield settings.load(
            redis_url=valkey.endpoint.url,
            database_url=url,
            prefix=f"starting-{secrets.token_hex(4)}",
            partitions=1,
        )


@pytest.fixture
async def told(bare):
    await database.migrate(bare.database_url)
    return bare


async def test_a_service_that_loses_redis_just_before_it_serves_waits_for_it(told, monkeypatch):
    """Found by the fault suite: every step of the start was tried again, but the last look at the clock."""
    calls = []

    async def sync(log):
        calls.append(log)
        if len(calls) == 1:
            raise RedisConnectionError("Connection closed by server.")
        await known(log)

    known = EventLog.sync
    monkeypatch.setattr(EventLog, "sync", sync)
    async with _frame(told, "timer", Metrics(), Health(), Stop()) as frame:
        assert frame.log.now
    assert len(calls) == 2


@pytest.mark.parametrize("newest", [True, False])
async def test_a_service_waits_until_the_database_is_migrated_to_its_version(bare, monkeypatch, newest):
    known = database.migrations()
    if newest:  # all but the last file is there, as at a rolling upgrade
        older = dict(list(known.items())[:-1])
        with monkeypatch.context() as patch:
            patch.setattr(database, "migrations", lambda: older)
            await database.migrate(bare.database_url)
    health, stop = Health(), Stop()

    async def start():
        async with _frame(bare, "timer", Metrics(), health, stop) as frame:
            return frame.log.now()

    starting = asyncio.create_task(start())
    lacking = f"NotYet: The database lacks {list(known)[-1] if newest else ', '.join(known)}:"
    await wait_until(
        lambda: health.ready().checks.get("deployment", "").startswith(lacking), "it says what it waits for"
    )
    assert not starting.done()
    await database.migrate(bare.database_url)
    assert await asyncio.wait_for(starting, 30)
    assert health.ready().ok


async def test_a_service_takes_a_database_that_a_newer_version_has_migrated(told):
    """Or no pod of the old version could be started again while, or after, the new one is rolled out."""
    await database.migrate(told.database_url, extra={"9999_newer.sql": "create table book.newer (a int)"})
    async with _frame(told, "timer", Metrics(), Health(), Stop()) as frame:
        assert frame.log.now()


def test_a_timer_loads_no_web_server_no_process_pool_and_no_models_of_job_types():
    look = (
        "import json, sys, services.__main__, services.timer.service; print(json.dumps(sorted(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert {"quart", "pebble", "duckdb", "shared.job_types"}.isdisjoint(json.loads(told.stdout))
