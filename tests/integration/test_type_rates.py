"""Rates of job types on a real server: jobs in all partitions, several executors, the timer that queues them again."""

import asyncio
import time
from datetime import timedelta

import pytest

from services.timer.service import Timer
from shared.clock import SystemClock
from shared.eventlog.connection import connect
from shared.eventlog.decider import Decider
from shared.lifecycle import Health, Stop
from shared.metrics import Metrics
from shared.testing import LEASE, Bench, chance, wait_until
from tests.integration.hall import NO_RETRIES, Hall, value
from tests.integration.test_concurrency import PARTITIONS, Works, a_pool

RATE_A_SECOND, RUNS = 20, 24


class All:
    """All partitions are its own."""

    def __init__(self, partitions):
        self.owned = frozenset(range(partitions))

    async def renew(self):
        return self.owned

    async def release_all(self):
        pass


@pytest.fixture
async def hall(valkey):
    """A hall of four partitions with a timer."""
    bench = await Bench.on(valkey.endpoint.url, partitions=PARTITIONS)
    made = Hall(bench, valkey.endpoint.url)
    bells = connect(valkey.endpoint.url, blocking=True)
    stop = Stop()
    log = bench.another_log("timer")
    timer = Timer(
        log=log, decider=Decider(log, lease=LEASE, chance=chance), bells=bells, share=All(PARTITIONS),
        clock=SystemClock(), metrics=Metrics(), health=Health(),
    )  # fmt: skip
    task = asyncio.create_task(timer.run(stop))
    yield made
    for executor in made.running:
        if not executor.task.done():
            await made.stop(executor)
    stop.set()
    await task
    await bells.aclose()
    await bench.close()


async def some_runs(hall, works, count, **spec):
    hall.handlers["works"] = works
    return [
        await hall.a_run(
            partition=n % PARTITIONS, job_type="works", job_data={}, **{"retry": NO_RETRIES} | spec
        )
        for n in range(count)
    ]


async def starts_of(hall, runs):
    """When each run was started, in seconds of Redis's time, in order."""
    found = []
    for run in runs:
        found += [each.at / 1000 for each in await hall.events(run) if each.type == "RunStarted"]
    return sorted(found)


async def test_runs_of_a_type_start_as_often_as_its_rate_says_and_all_do(hall):
    works = Works(moment_s=0.001)
    runs = await some_runs(hall, works, RUNS)
    other = await hall.a_run()
    executors = [hall.start(type_rates=f"works={RATE_A_SECOND}/s") for _ in range(3)]
    began = time.monotonic()
    await hall.ended(other)
    assert time.monotonic() - began < 1, "other types are started as they come"
    for run in runs:
        assert (await hall.ended(run, timeout_s=20)).status == "succeeded"
    starts = await starts_of(hall, runs)
    assert len(starts) == RUNS
    assert starts[-1] - starts[0] >= (RUNS - 1) / RATE_A_SECOND - 0.1, "they are as far apart as that"
    for first in starts:  # some more: a start follows the time it was granted by a moment
        assert sum(1 for at in starts if first <= at < first + 0.5) <= RATE_A_SECOND / 2 + 3
    held = sum(value(each.metrics, "starts_held_total", reason="rate") for each in executors)
    assert 0 < held < 2 * RUNS, "each waits for its turn, and asks again at it"


async def test_who_waits_for_its_turn_leaves_the_permit_of_its_key_to_others(hall):
    works = Works(moment_s=0.001)
    runs = await some_runs(hall, works, 2, concurrency_key="the crane", concurrency_limit=1)
    hall.start(type_rates="works=1/m")

    async def one_waits():
        states = [await hall.state(run) for run in runs]
        return next((each for each in states if each.hold and each.hold.reason == "rate"), None)

    waiting = await wait_until(one_waits, "one waits for its turn")
    assert timedelta(seconds=50) < waiting.hold.until - waiting.scheduled_for < timedelta(seconds=65)
    (other,) = [run for run in runs if run != waiting.id]
    await hall.ended(other)
    assert await a_pool(hall, other) == (0, 0)
