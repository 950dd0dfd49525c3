"""Nobody reads past a hole in the log."""

import pytest

from shared.eventlog.connection import connect
from shared.eventlog.envelope import FIELDS
from shared.eventlog.position import START, Position
from shared.eventlog.reader import Hole, LogReader
from tests.integration.test_commit import a_unit
from shared.testing import a_job_id


@pytest.fixture
async def reader(bench, valkey):
    redis = connect(valkey.endpoint.url, blocking=True)
    yield LogReader(redis, prefix=bench.prefix, partitions=bench.partitions)
    await redis.aclose()
