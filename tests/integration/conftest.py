"""What all integration tests share beside the servers."""

import pytest

from services.projector import service as projecting
from shared.testing import Bench
from tests.integration.hall import Hall


@pytest.fixture(autouse=True)
def quick_end(monkeypatch):
    """A projector in this process stops without half a second's wait for a quiet log."""
    monkeypatch.setattr(projecting, "BLOCK_MS", 50)


@pytest.fixture
async def hall(valkey):
    """A hall whose executors end with the test."""
    bench = await Bench.on(valkey.endpoint.url)
    made = Hall(bench, valkey.endpoint.url)
    yield made
    for executor in made.running:
        if not executor.task.done():
            await made.stop(executor)
    await bench.close()
