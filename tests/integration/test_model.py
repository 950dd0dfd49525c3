"""The model of jobs against a real log: decided by the decider, committed by the script, read back from the server."""

import asyncio

import pytest

from shared.domain import ids
from shared.domain.run import Run, Status
from shared.eventlog.decider import Decider
from shared.eventlog.envelope import from_entry
from shared.testing import LEASE, TESTER, Bench, chance
from tests.unit.memory_log import MemoryLog
from tests.unit.test_model import Jobs, tried

PARTITION = 1  # of the model's ids


class RealLog(MemoryLog):
    """Each command goes through the server; the states are those that its events fold to, and those it keeps."""

    def __init__(self, url):
        super().__init__()
        self._loop = asyncio.Runner()
        self._bench = self._loop.run(Bench.on(url))
        self._log = self._bench.log
        self._log.now = lambda _=None: self._now  # the server's own is not asked: its days are too long
        self._decider = Decider(self._log, lease=LEASE, chance=chance)
        self._seen = self._loop.run(self._last())

    def decide(self, ref, command, now):
        self._now, known = now, len(self.changes)
        try:
            self._loop.run(self._decider.decide(ref, command, TESTER))
        finally:
            self._loop.run(self._read())
        return self.changes[known:]

    def close(self):
        self._loop.run(self._bench.close())
        self._loop.close()

    async def _last(self):
        ((entry, _),) = await self._bench.redis.xrevrange(self._log.keys(PARTITION).log, count=1)
        return entry

    async def _read(self):
        """Take in what is new in the log, and look at what the server keeps of all that it is about."""
        keys, advanced = self._log.keys(PARTITION), {}
        for entry, fields in await self._bench.redis.xrange(keys.log, b"(" + self._seen):
            recorded = from_entry(PARTITION, entry, fields)
            change = recorded.change()
            self._take(change, str(recorded.position))
            advanced |= dict.fromkeys(change.advances, str(recorded.position))
            self._seen = entry
        for ref, version in advanced.items():
            await self._assert_kept(ref, version, keys)

    async def _assert_kept(self, ref, version, keys):
        held = (await self._log.load(ref))[ref]
        state = self.states[ref]
        assert (held.state, held.version) == (state, version)
        score = await self._bench.redis.zscore(keys.due, ref)
        if isinstance(state, Run) and state.status is Status.RUNNING:
            assert held.fence == self.fence(ref)
            assert score == ids.to_ms(self._now + LEASE) or held.version != held.fence
            return
        due_at = self.due_at(state)
        assert score == (None if due_at is None else ids.to_ms(due_at))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_real_log_comes_to_what_the_model_says(valkey):
    class OnAServer(Jobs):
        def made_log(self):
            return RealLog(valkey.endpoint.url)

    tried(OnAServer, examples=150, steps=40)
