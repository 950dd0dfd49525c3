"""Real servers for the tests: one Valkey and one Postgres for each pytest process, a prefix and a database a test."""

import pytest

from shared.embedded import Postgres, Valkey
from shared.testing import Bench


@pytest.fixture(scope="session")
def valkey(tmp_path_factory):
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    # What is tested here survives the death of processes; fsync guards against that of the machine.
    with Postgres(tmp_path_factory.mktemp("postgres"), settings={"fsync": "on"}) as server:
        yield server


@pytest.fixture
async def bench(valkey):
    made = await Bench.on(valkey.endpoint.url)
    yield made
    await made.close()
