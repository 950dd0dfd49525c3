"""Concurrency keys on a real server: jobs in all partitions, several executors; never one too many, none forgotten."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from services.executor import admission
from shared.domain import ids
from shared.domain.commands import CancelRun, HoldRun, StartRun, Wake
from shared.eventlog import permits
from shared.eventlog.permits import Permits
from shared.testing import LEASE, TESTER, Bench, wait_until
from tests.integration.hall import NO_RETRIES, Hall, value

PARTITIONS = 4


@pytest.fixture
async def hall(valkey):
    """A hall of four partitions, as the runs of one key stand in all of them."""
    bench = await Bench.on(valkey.endpoint.url, partitions=PARTITIONS)
    made = Hall(bench, valkey.endpoint.url)
    yield made
    for executor in made.running:
        if not executor.task.done():
            await made.stop(executor)
    await bench.close()


class Works:
    """A handler that counts how many are in it at once; each stays until it is let go, or for a moment."""

    def __init__(self, *, moment_s=0.02):
        self.inside, self.most, self.order, self.starts = set(), 0, [], Counter()
        self.moment_s = moment_s
        self.gate = None

    async def __call__(self, run):
        self.inside.add(run.run_id)
        self.order.append(run.run_id)
        self.starts[run.run_id] += 1
        self.most = max(self.most, len(self.inside))
        try:
            if self.gate is not None:
                await self.gate.wait()
            else:
                await asyncio.sleep(self.moment_s)
        finally:
            self.inside.discard(run.run_id)


async def some_runs(hall, works, count, *, limit=2, first=0, **spec):
    """Queued runs of as many jobs, in all partitions in turn, that share a key."""
    hall.handlers["works"] = works
    shared = {"concurrency_key": "the crane", "concurrency_limit": limit, "retry": NO_RETRIES} | spec
    return [
        await hall.a_run(partition=number % PARTITIONS, job_type="works", job_data={}, **shared)
        for number in range(first, first + count)
    ]


async def all_end(hall, runs, **options):
    for run in runs:
        assert (await hall.ended(run, **options)).status == "succeeded"


async def one_at_work(hall, works, **spec):
    """A run of the key that is at work until the gate opens, and the executor that has it."""
    works.gate = asyncio.Event()
    (first,) = await some_runs(hall, works, 1, **{"limit": 1} | spec)
    executor = hall.start()
    await hall.running_now(first)
    return first, executor


async def a_pool(hall, run):
    """The limit of a run, and the number of its permits and of those that wait."""
    of = (await hall.state(run)).spec.concurrency
    keys = hall.bench.log.keys(permits.partition_of(of.pool, PARTITIONS))
    redis = hall.bench.redis
    return await redis.zcard(keys.permits(of.pool)), await redis.zcard(keys.waiting(of.pool))


async def held(hall, run):
    """The run, once it is held and stands in line."""

    async def look():
        state = await hall.state(run)
        of = state.spec.concurrency
        line = hall.bench.log.keys(permits.partition_of(of.pool, PARTITIONS)).waiting(of.pool)
        in_line = await hall.bench.redis.zscore(line, f"{run} {of.limit}") is not None
        return state if state.status == "held" and in_line else None

    return await wait_until(look, f"run {run} is held, and stands in line")


async def test_runs_of_one_key_never_are_more_at_work_than_it_allows_and_all_come_to_their_turn(hall):
    works = Works()
    runs = await some_runs(hall, works, 24)
    others = [await hall.a_run(partition=number) for number in range(PARTITIONS)]
    executors = [hall.start() for _ in range(3)]
    await all_end(hall, runs)
    await all_end(hall, others)
    assert works.most == 2
    assert set(works.starts.values()) == {1}
    assert await a_pool(hall, runs[0]) == (0, 0)
    refused = sum(value(each.metrics, "starts_held_total", reason="concurrency") for each in executors)
    assert refused >= len(runs) - 3 * 4, "twelve slots: the others could not even be claimed at first"


async def test_who_waits_first_goes_first_and_nobody_who_comes_later_overtakes(hall):
    works = Works()
    first, _ = await one_at_work(hall, works)
    rest = []
    for number in range(6):
        (run,) = await some_runs(hall, works, 1, limit=1, first=number)
        await held(hall, run)
        rest.append(run)
    works.gate.set()
    await all_end(hall, [first, *rest])
    assert works.order == [first, *rest]
    assert await hall.types(rest[-1]) == [
        "RunRequested", "RunHeld", "RunQueued", "RunStarted", "RunSucceeded",
    ]  # fmt: skip


async def test_a_key_is_its_tenants(hall):
    works = Works()
    works.gate = asyncio.Event()
    hall.handlers["works"] = works
    common = {"job_type": "works", "job_data": {}, "concurrency_key": "k", "concurrency_limit": 1}
    one = await hall.a_run(**common)
    other = await hall.a_run(**common, tenant="another")
    hall.start()
    await hall.running_now(one)
    await hall.running_now(other)
    works.gate.set()


async def test_the_run_of_a_killed_executor_keeps_its_permit_until_its_lease_is_over_and_then_others_go_on(
    hall, monkeypatch
):
    works = Works()
    works.gate = asyncio.Event()
    runs = await some_runs(hall, works, 4, limit=1)
    dead = hall.start(concurrency=1)
    running = await wait_until(lambda: next(iter(works.inside), None), "one is at work")
    await kill(hall, dead, monkeypatch)
    works.inside.clear()
    waiting = [run for run in runs if run != running]
    hall.start()
    for run in waiting:
        await held(hall, run)
    assert await a_pool(hall, running) == (1, 3)
    works.gate.set()
    await hall.lose(running)  # as the timer does when the lease is over
    await all_end(hall, runs)
    assert works.most == 1
    assert works.starts == Counter(dict.fromkeys(waiting, 1) | {running: 2})


async def kill(hall, executor, monkeypatch):
    """End an executor without a word: neither its heartbeats nor its attempts say anything any more."""
    hall.running.remove(executor)

    async def nothing(*_, **__):
        raise asyncio.CancelledError

    for attempt in executor._attempts.values():
        monkeypatch.setattr(attempt, "_record", nothing)
    executor._heartbeat.stop()
    executor.task.cancel()
    await asyncio.wait([executor.task])


async def test_who_ends_with_its_worker_makes_room_too(hall, monkeypatch):
    works = Works()
    doomed, dead = await one_at_work(hall, works, max_lost=1)
    await kill(hall, dead, monkeypatch)
    works.gate.set()
    (waiting,) = await some_runs(hall, works, 1, limit=1)
    hall.start()
    await held(hall, waiting)
    await hall.lose(doomed)
    await all_end(hall, [waiting])
    assert (await hall.state(doomed)).status == "failed"


async def test_a_run_that_is_cancelled_while_it_waits_is_passed_over(hall):
    works = Works()
    first, _ = await one_at_work(hall, works)
    (gone,) = await some_runs(hall, works, 1, limit=1, first=1)
    await held(hall, gone)
    (last,) = await some_runs(hall, works, 1, limit=1, first=2)
    await held(hall, last)
    await hall.bench.decider.decide(f"run:{gone}", CancelRun(by="ada"), TESTER)
    works.gate.set()
    await all_end(hall, [first, last])
    assert await hall.types(gone) == ["RunRequested", "RunHeld", "RunCancelled"]
    assert await a_pool(hall, first) == (0, 0)


async def test_one_in_line_that_is_over_though_nobody_said_so_makes_room_for_the_next(hall):
    works = Works()
    first, _ = await one_at_work(hall, works)
    (gone,) = await some_runs(hall, works, 1, limit=1, first=1)
    await held(hall, gone)
    (last,) = await some_runs(hall, works, 1, limit=1, first=2)
    await held(hall, last)
    cancel = CancelRun(by="ada")
    await hall.bench.decider.decide(f"run:{gone}", cancel, TESTER, hands_over=False)  # killed just then
    assert await a_pool(hall, first) == (1, 2)
    works.gate.set()
    await all_end(hall, [first, last])


async def test_a_run_in_its_back_off_has_no_permit(hall):
    works = Works()
    (other,) = await some_runs(hall, works, 1, limit=1)
    job = {"operation": "fail"}
    failing = await hall.a_run(
        job_type="custom", job_data=job, concurrency_key="the crane", concurrency_limit=1
    )
    hall.start()
    await all_end(hall, [other])

    async def retrying():
        return (await hall.state(failing)).status == "retrying"

    await wait_until(retrying, "it waits for its next attempt")
    assert await a_pool(hall, failing) == (0, 0)


async def test_who_was_forgotten_in_line_asks_again_after_a_minute(hall, monkeypatch):
    """Whoever had to queue it was killed between giving the permit back and that."""
    works = Works()
    monkeypatch.setattr(admission, "NET", timedelta(milliseconds=300))
    first, _ = await one_at_work(hall, works)
    (waiting,) = await some_runs(hall, works, 1, limit=1)
    state = await held(hall, waiting)
    of = state.spec.concurrency
    keys = hall.bench.log.keys(permits.partition_of(of.pool, PARTITIONS))
    await hall.bench.redis.delete(keys.waiting(of.pool))
    works.gate.set()
    await all_end(hall, [first])
    assert (await hall.state(waiting)).status == "held"

    async def due():
        return state.hold.until <= await hall.bench.log.sync()

    await wait_until(due, "its time has come")
    await hall.wake(waiting)
    await all_end(hall, [waiting])


async def test_a_permit_whose_start_never_came_is_found_by_those_that_want_one(hall, monkeypatch):
    """Its executor was killed between permit and start, and nobody serves its queue any more."""
    monkeypatch.setattr(permits, "LEASES", 0)
    works = Works()
    (stuck,) = await some_runs(hall, works, 1, limit=1, queue="nobody's")
    state = await hall.state(stuck)
    entry = (await hall.bench.log.load(f"run:{stuck}"))[f"run:{stuck}"].version
    mine = Permits(hall.bench.log, LEASE)
    assert (await mine.take(state, state.spec.concurrency, entry)).outcome == "granted"
    (other,) = await some_runs(hall, works, 1, limit=1)
    hall.start()
    await all_end(hall, [other])
    assert "RunHeld" in await hall.types(stuck), "who comes late finds that it may not start"
    with pytest.raises(Exception, match="is held, not queued"):
        await hall.bench.decider.decide(f"run:{stuck}", StartRun(worker="late"), TESTER)


async def test_a_permit_that_nobody_shows_stays_as_long_as_its_run_is_at_work(hall, monkeypatch):
    monkeypatch.setattr(permits, "LEASES", 0)  # whoever wants it finds its time up
    works = Works()
    first, _ = await one_at_work(hall, works)
    (waiting,) = await some_runs(hall, works, 1, limit=1)
    await held(hall, waiting)
    for _ in range(3):
        await hall.bench.decider.decide(f"run:{waiting}", CancelRun(by="x"), TESTER)
        (waiting,) = await some_runs(hall, works, 1, limit=1)
        await held(hall, waiting)
    assert works.most == 1
    works.gate.set()
    await all_end(hall, [first, waiting])


async def test_two_executors_with_one_claim_share_one_permit_and_the_late_one_gives_nothing_back(hall):
    works = Works()
    first, executor = await one_at_work(hall, works)
    (waiting,) = await some_runs(hall, works, 1, limit=1, first=1)
    await held(hall, waiting)
    state = await hall.state(first)
    late = hall.executor()
    claim = next(each.claim for each in executor._attempts.values())
    snapshot = claim.snapshot()
    assert await late._worker.admission.admits(claim, snapshot), "the same permit"
    await late._worker.admission.refused(claim, snapshot)
    assert await a_pool(hall, first) == (1, 1)
    assert state.status == "running"
    works.gate.set()
    await all_end(hall, [first, waiting])


async def test_a_run_without_a_key_asks_for_nothing(hall, monkeypatch):
    async def asked(*_, **__):
        raise AssertionError("it has no key")

    monkeypatch.setattr(Permits, "_call", asked)
    run = await hall.a_run()
    hall.start()
    await all_end(hall, [run])


async def test_a_held_run_past_its_start_deadline_expires(hall):
    works = Works()
    first, _ = await one_at_work(hall, works)
    (waiting,) = await some_runs(hall, works, 1, limit=1, first=1, start_deadline_seconds=1)
    state = await held(hall, waiting)
    assert state.start_by < state.hold.until

    async def due():
        return state.start_by <= await hall.bench.log.sync()

    await wait_until(due, "its deadline has passed")
    await hall.wake(waiting)
    assert (await hall.state(waiting)).status == "expired"
    assert await a_pool(hall, first) == (1, 0)
    works.gate.set()


async def test_a_held_run_stands_in_the_due_index_and_no_work_stream(hall):
    works = Works()
    (run,) = await some_runs(hall, works, 1)
    until = hall.bench.log.now() + timedelta(seconds=60)
    hold = HoldRun(reason="concurrency", key="the crane", until=until)
    await hall.bench.decider.decide(f"run:{run}", hold, TESTER)
    due = hall.bench.log.keys(ids.partition_of(run)).due
    assert await hall.bench.redis.zscore(due, f"run:{run}") == ids.to_ms(until)
    assert await hall.streams() == (0, 0)
    decided = await hall.bench.decider.decide(f"run:{run}", Wake(), TESTER)
    assert decided.changes == ()


async def test_heartbeats_put_back_the_permits_that_a_server_has_lost(hall):
    works = Works()
    works.gate = asyncio.Event()
    (first,) = await some_runs(hall, works, 1, limit=1)
    hall.start(lease=1.0)
    await hall.running_now(first)
    of = (await hall.state(first)).spec.concurrency
    keys = hall.bench.log.keys(permits.partition_of(of.pool, PARTITIONS))
    redis = hall.bench.redis
    await redis.hset(keys.meta, "granting_ms", "9" * 13)  # as just after an opening
    await redis.delete(keys.permits(of.pool), keys.holders(of.pool))

    async def back():
        return await redis.zcard(keys.permits(of.pool))

    await wait_until(back, "its permit is back")
    (other,) = await some_runs(hall, works, 1, limit=1)
    state = await held(hall, other)
    assert ids.to_ms(state.hold.until) > 9e12, "it asks again when permits are granted"
    works.gate.set()
    await all_end(hall, [first])
    assert await a_pool(hall, first) == (0, 1)
