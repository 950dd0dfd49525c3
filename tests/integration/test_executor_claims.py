"""Which runs an executor on a real server takes: by priority, queue and bell, and what others have claimed."""

import asyncio
import time

import pytest

from services.executor import bells, claims, service
from services.executor.claims import Claims, plan
from shared.domain import ids
from shared.testing import chance, wait_until
from tests.integration.hall import value

# Order.


def test_slots_go_to_the_highest_priority_first_then_to_one_partition():
    low, high = [0] * 9 + [50], [2] + [0] * 9
    taken = [plan({0: low, 1: high, 2: low}, 10, queues=1, turn=turn) for turn in (0, 2)]
    assert [counts[1][0] for counts in taken] == [2, 2]
    assert [(counts[0][9], counts[2][9]) for counts in taken] == [(8, 0), (0, 8)]


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_which_partition_comes_first_goes_round(turn):
    waiting = {p: [1] + [0] * 9 for p in range(3)}
    counts = plan(waiting, 1, queues=1, turn=turn)
    assert [p for p in range(3) if counts[p][0]] == [turn]


async def test_a_higher_priority_runs_first_whichever_partition_it_is_in(hall):
    order = []

    async def handler(run):
        order.append(run.run_id)

    runs = {
        (priority, partition): await hall.a_run_of(handler, partition=partition, priority=priority)
        for priority, partition in [(1, 0), (5, 1), (10, 1), (5, 0), (9, 0)]
    }
    hall.start(concurrency=1)
    for run in runs.values():
        await hall.ended(run)
    assert order[:2] == [runs[10, 1], runs[9, 0]]
    assert set(order[2:4]) == {runs[5, 0], runs[5, 1]}
    assert order[4] == runs[1, 0]


async def test_only_the_queues_it_serves_are_touched(hall):
    theirs, ours = await hall.a_run(queue="theirs"), await hall.a_run(queue="ours")
    hall.start(queues=["ours"])
    await hall.ended(ours)
    assert (await hall.state(theirs)).status == "queued"
    assert await hall.streams("theirs") == (1, 0)


async def test_no_more_runs_are_taken_than_there_are_slots(hall):
    release, busy, most = asyncio.Event(), 0, 0

    async def handler(_):
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await release.wait()
        busy -= 1

    runs = [await hall.a_run_of(handler, partition=i % 2) for i in range(6)]
    executor = hall.start(concurrency=2)
    await wait_until(lambda: busy == 2, "both slots are busy")
    assert executor.free == 0
    assert await hall.streams() == (4, 0)
    release.set()
    for run in runs:
        await hall.ended(run)
    assert most == 2


async def test_work_that_trickles_in_is_claimed_by_the_handful_and_the_first_of_it_at_once(hall, monkeypatch):
    monkeypatch.setattr(service, "PACE_A_RUN_S", 60.0)
    monkeypatch.setattr(service, "PACE_MAX_S", 60.0)
    executor = hall.start(concurrency=4)
    await wait_until(executor._bells._wanted.is_set, "it sleeps")
    await hall.ended(await hall.a_run())
    for _ in range(3):
        await hall.a_run()
    await wait_until(lambda: executor._bells.rung, "it hears of more")
    assert await hall.streams() == (3, 0), "the next look waits for what the last took"
    executor.task.cancel()
    await asyncio.wait([executor.task], timeout=10)


async def test_a_slot_is_given_away_once_though_two_look_for_runs(hall):
    await hall.a_run(partition=0)
    await hall.a_run(partition=1)
    dead = Claims(hall.bench.log, queues=["default"], consumer="dead")
    await dead.hand_back((await dead.take(1))[0])
    executor = hall.executor(concurrency=1)
    taken = []

    def begin(claim):
        taken.append(claim)
        executor._busy += 1

    executor.begin = begin
    await asyncio.gather(executor.adopt_once(), executor.claim_once())
    assert len(taken) == 1
    await executor._close()


async def test_a_bell_wakes_an_idle_executor_long_before_its_sleep_is_over(hall, monkeypatch):
    monkeypatch.setattr(bells, "CAP_S", 5.0)
    executor = hall.start()
    await wait_until(executor._bells._wanted.is_set, "it sleeps")
    before = time.monotonic()
    await hall.ended(await hall.a_run(partition=1))
    assert time.monotonic() - before < 3


async def test_an_idle_executor_that_is_rung_takes_from_there_without_asking_all(hall, monkeypatch):
    monkeypatch.setattr(bells, "CAP_S", 30.0)
    executor = hall.start()
    await wait_until(executor._bells._wanted.is_set, "it sleeps")
    asked = 0

    async def waiting():
        nonlocal asked
        asked += 1
        return {}

    monkeypatch.setattr(executor._claims, "waiting", waiting)
    for partition in (1, 0, 1):
        await hall.ended(await hall.a_run(partition=partition))
    assert asked == 0


async def test_who_is_rung_takes_a_part_highest_priority_first_and_rings_for_the_rest(hall):
    for priority in (1, 10, 5):
        await hall.a_run(partition=0, priority=priority)
    await hall.a_run(partition=1)
    bell = hall.bench.log.keys(0).bell("default")
    await hall.bench.redis.delete(bell)
    mine = Claims(hall.bench.log, queues=["default"], consumer="me")
    assert [claim.priority for claim in await mine.take_from({0}, 2)] == [10, 5]
    assert await hall.bench.redis.llen(bell) == 1
    await hall.bench.redis.delete(bell)
    assert [claim.priority for claim in await mine.take_from({0}, 2)] == [1]
    assert await hall.bench.redis.llen(bell) == 0
    assert len(await mine.take(9)) == 1  # the one in the partition that didn't ring


async def test_of_one_priority_each_queue_has_its_bell_and_its_turn(hall):
    for queue in ("red", "blue"):
        for _ in range(2):
            await hall.a_run(partition=0, queue=queue)
    rung = {queue: hall.bench.log.keys(0).bell(queue) for queue in ("red", "blue")}
    await hall.bench.redis.delete(*rung.values())
    mine = Claims(hall.bench.log, queues=["red", "blue"], consumer="me")
    first = await mine.take(2)
    assert len({claim.queue for claim in first}) == 1
    [left] = {"red", "blue"} - {claim.queue for claim in first}
    assert await hall.bench.redis.llen(rung[left]) == 1
    assert await hall.bench.redis.llen(rung[first[0].queue]) == 0
    assert {claim.queue for claim in await mine.take(2)} == {left}


async def test_whoever_leaves_runs_rings_for_the_next(hall):
    for _ in range(3):
        await hall.a_run()
    bell = hall.bench.log.keys(0).bell("default")
    await hall.bench.redis.delete(bell)
    mine = Claims(hall.bench.log, queues=["default"], consumer="me")
    assert len(await mine.take(2)) == 2
    assert await hall.bench.redis.llen(bell) == 1
    await hall.bench.redis.delete(bell)
    assert await mine.take(0) == []  # a busy executor passes on a bell that it took down
    assert await hall.bench.redis.llen(bell) == 1
    await hall.bench.redis.delete(bell)
    assert len(await mine.take(9)) == 1
    assert await hall.bench.redis.llen(bell) == 0


async def test_the_depth_of_its_queues_is_measured(hall):
    executor = hall.executor()
    await hall.a_run(partition=0)
    await hall.a_run(partition=1, priority=9)
    await executor.measure_once()
    assert value(executor.metrics, "queue_depth", queue="default") == 2
    await executor._close()


# Entries that somebody else has claimed.


async def test_a_run_claimed_by_an_executor_that_died_is_adopted(hall, monkeypatch):
    monkeypatch.setattr(claims, "ADOPT_IDLE_MS", 50)
    runs = [await hall.a_run(partition=i % 2) for i in range(4)]
    dead = Claims(hall.bench.log, queues=["default"], consumer="dead")
    assert {claim.run for claim in await dead.take(10)} == set(runs)
    hall.start()
    for run in runs:
        assert (await hall.ended(run)).attempt == 1
    assert await hall.streams() == (0, 0)


async def test_a_claim_is_not_adopted_while_it_is_fresh_but_at_once_when_handed_back(hall):
    await hall.a_run()
    mine, theirs = (Claims(hall.bench.log, queues=["default"], consumer=name) for name in ("me", "them"))
    [claim] = await mine.take(1)
    assert await theirs.adopt(5) == []
    await mine.hand_back(claim)
    assert await theirs.adopt(5) == [claim]


async def test_a_claimed_run_does_not_count_as_waiting(hall):
    await hall.a_run(priority=10)
    await hall.a_run(priority=1)
    others = Claims(hall.bench.log, queues=["default"], consumer="them")
    [claim] = await others.take(1)
    assert claim.priority == 10
    mine = Claims(hall.bench.log, queues=["default"], consumer="me")
    assert mine.depths(await mine.waiting()) == {"default": 1}
    assert [each.priority for each in await mine.take(1)] == [1]


async def test_an_entry_of_a_run_that_isnt_there_or_isnt_queued_is_taken_out(hall):
    run = await hall.a_run()
    work = hall.bench.log.keys(0).work("default", 5)
    executor = hall.start()
    await hall.ended(run)
    nobody = ids.chance_id(hall.bench.log.now(), 0, chance())
    for stale in (run, nobody):
        await hall.bench.redis.xadd(work, {"run": stale})

    async def empty():
        return await hall.streams() == (0, 0)

    await wait_until(empty, "both are gone")
    assert await hall.types(run) == ["RunRequested", "RunStarted", "RunSucceeded"]
    assert not executor.task.done()


async def test_two_executors_start_each_run_once(hall):
    runs = [await hall.a_run(partition=i % 2) for i in range(60)]
    hall.start()
    hall.start()
    for run in runs:
        await hall.ended(run)
        assert await hall.types(run) == ["RunRequested", "RunStarted", "RunSucceeded"]
