"""Any order of what executors do with the permits of a key, against a model of who is at work and who is to come."""

import random

import pytest
from msgspec.structs import replace

from shared.eventlog.permits import Unseen
from shared.testing import Bench
from tests.integration.test_permits import Crane, a_limited_run, entry

RUNS, STEPS = 8, 200


@pytest.fixture
async def bench(valkey):
    """A log of two partitions on a real server."""
    made = await Bench.on(valkey.endpoint.url)
    yield made
    await made.close()


class Yard:
    """Runs of one key: each is queued under an entry, at work, or in line. Executors come, go, die, and come late."""

    def __init__(self, bench, chance):
        self.chance, self.limit = chance, chance.choice((1, 2, 3))
        self.runs = {run.id: run for run in (a_limited_run(limit=self.limit) for _ in range(RUNS))}
        self.crane = Crane(bench, next(iter(self.runs.values())))
        self.entries, self.clock = iter(range(1, 10_000)), iter(range(10_000))
        self.queued = {run_id: next(self.entries) for run_id in self.runs}
        self.at_work, self.line, self.over = {}, set(), []
        self.ends = 0

    def hear(self, called):
        """Queue who is called, if it is still in line."""
        for run_id in called:
            if run_id in self.line:
                self.line.remove(run_id)
                self.queued[run_id] = next(self.entries)

    async def claim(self):
        run_id = self.chance.choice(sorted(self.queued))
        run, number = self.runs[run_id], self.queued[run_id]
        answer = await self.crane.permits.take(run, self.crane.of, entry(number))
        if answer.outcome == "granted":
            self.at_work[run_id] = self.queued.pop(run_id)
            return
        self.hear(answer.called)
        if run_id not in answer.called:
            del self.queued[run_id]
            hold = run.hold or a_limited_run(since_s=next(self.clock)).hold
            self.runs[run_id] = replace(run, hold=hold)
            self.line.add(run_id)
            self.hear(await self.crane.wait(self.runs[run_id]))

    async def end(self):
        """A report, or a lost lease: the permit goes back, and the run begins again."""
        run_id = self.chance.choice(sorted(self.at_work))
        number = self.at_work.pop(run_id)
        self.runs[run_id] = replace(self.runs[run_id], hold=None)
        self.hear(await self.crane.free(self.runs[run_id], entry(number), over=False))
        self.over.append((run_id, number))
        self.queued[run_id] = next(self.entries)
        self.ends += 1

    async def come_late(self):
        """Somebody was stopped with an entry that has been taken care of since; its start is refused."""
        run_id, number = self.chance.choice(self.over)
        await self.crane.take(self.runs[run_id], number)
        self.hear(await self.crane.free(self.runs[run_id], entry(number), over=False))

    async def show(self):
        run_id, number = self.chance.choice(sorted(self.at_work.items()))
        await self.crane.permits.keep(self.crane.of, Unseen(run_id, entry(number)))

    async def ask_again(self):
        """The minute of one in line is over."""
        run_id = self.chance.choice(sorted(self.line))
        self.line.remove(run_id)
        self.queued[run_id] = next(self.entries)

    def possible(self):
        steps = [*[self.claim] * (9 * bool(self.queued)), *[self.end] * (5 * bool(self.at_work))]
        return steps + [
            step
            for step, having in (
                (self.come_late, self.over), (self.show, self.at_work), (self.ask_again, self.line),
            )
            if having
        ] * 2  # fmt: skip

    async def check(self):
        assert len(self.at_work) <= self.limit
        holders = await self.crane.holders()
        for run_id, number in self.at_work.items():
            assert holders.get(run_id) == entry(number), "whoever is at work has its permit"
        if not self.queued:
            assert len(self.at_work) == self.limit, f"{sorted(self.line)} are forgotten"


@pytest.mark.parametrize("seed", range(2))
async def test_any_order_of_events_keeps_to_the_limit_and_forgets_nobody(bench, seed):
    yard = Yard(bench, random.Random(seed))
    for _ in range(STEPS):
        await yard.chance.choice(yard.possible())()
        await yard.check()
    assert yard.ends > STEPS / 8
