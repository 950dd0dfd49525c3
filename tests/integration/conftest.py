"""What all integration tests share beside the servers."""

import pytest

from services.projector import service as projecting


@pytest.fixture(autouse=True)
def quick_end(monkeypatch):
    """A projector in this process stops without half a second's wait for a quiet log."""
    monkeypatch.setattr(projecting, "BLOCK_MS", 50)
