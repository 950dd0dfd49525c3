"""What `make bench-recovery` loses and brings back is a true history, and all of it comes back."""

import asyncio

import pytest

from services.projector.audit import verify
from services.projector.importing import bring_in
from shared.eventlog.connection import connect
from shared.readmodel import database
from shared.readmodel.cold.directory import Directory
from shared.recovery import open_log
from shared.testing import LEASE, chance
from tests.benchmarks import recovery, recovery_data
from tests.benchmarks.recovery_data import PARTITIONS, PREFIX
from tests.integration.cold_kit import an_empty_database

EVENTS, JOBS = 12_000, 600


@pytest.fixture
async def empty(postgres):
    async with an_empty_database(postgres) as url:
        yield url


async def test_thousands_of_events_come_back_into_both_stores(empty, valkey, tmp_path):
    redis = connect(valkey.endpoint.url)
    standing = await asyncio.to_thread(recovery_data.write, tmp_path, events=EVENTS, jobs=JOBS)
    pool = await database.connect_pool(empty, session={"application_name": "test"})
    try:
        new = await bring_in(pool, Directory.read(tmp_path), told=lambda _: None)
        assert 0.9 * EVENTS < new <= EVENTS
        for partition in range(PARTITIONS):
            await open_log(
                pool,
                redis,
                prefix=PREFIX,
                partition=partition,
                partitions=PARTITIONS,
                lease=LEASE,
                chance=chance,
            )
        stands = await recovery.standing_of(valkey.endpoint.url)
        assert recovery.differences(standing, *stands) == []
        assert min(standing.runs.values()) > 100, standing.runs
        report = await verify(pool, redis)
        assert {line.name: line.first for line in report.lines if line.violations} == {}
        due, queued, jobs = stands
        assert recovery.differences(standing, due | {min(standing.due): 5}, queued, jobs) != []
        assert recovery.differences(standing, due, dict(list(queued.items())[1:]), jobs) != []
    finally:
        await redis.aclose()
        await pool.close()
