"""What a service waits for as it starts, rather than end."""

import json
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
from tests.integration.databases import a_database


@pytest.fixture
async def told(valkey, postgres):
    async with a_database(postgres) as url:
        yield settings.load(redis_url=valkey.endpoint.url, database_url=url, prefix="starting", partitions=1)


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


def test_a_timer_loads_no_web_server_no_process_pool_and_no_models_of_job_types():
    look = (
        "import json, sys, services.__main__, services.timer.service; print(json.dumps(sorted(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert {"quart", "pebble", "duckdb", "shared.job_types"}.isdisjoint(json.loads(told.stdout))
