"""Real servers for the tests: one Valkey and one Postgres for each pytest process, a prefix and a database a test."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from shared.embedded import Postgres, Valkey
from shared.testing import Bench
from tests.cluster_kit import RedisCluster

MEMORY = Path("/dev/shm")  # noqa: S108 - what is tested here survives the death of processes, not that of the machine
ROOM = 4 << 30  # bytes, for the servers of all processes


@pytest.fixture(scope="session")
def servers_directory(tmp_path_factory):
    """Where the servers keep their data: in memory, where there is room, as they sync each write."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM:
        yield tmp_path_factory.mktemp("servers")
        return
    for left in MEMORY.glob("daybook-tests-*"):  # by one that was killed
        if not Path(f"/proc/{left.name.split('-')[2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"daybook-tests-{os.getpid()}-", dir=MEMORY) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def valkey(servers_directory):
    """One server; `TEST_REDIS=cluster` has the same tests look at a Cluster instead."""
    is_cluster = os.environ.get("TEST_REDIS") == "cluster"
    made = RedisCluster(servers_directory / "cluster") if is_cluster else Valkey(servers_directory / "valkey")
    with made as server:
        yield server


@pytest.fixture(scope="session")
def postgres(servers_directory):
    with Postgres(servers_directory / "postgres") as server:
        yield server


@pytest.fixture
async def bench(valkey):
    made = await Bench.on(valkey.endpoint.url)
    yield made
    await made.close()
