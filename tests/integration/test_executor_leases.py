"""An executor keeps the leases of its runs, and reports nothing of those it has lost."""

import asyncio
import time
from datetime import timedelta

from services.executor import heartbeat
from services.executor.claims import Claims
from shared.domain.commands import StartRun
from shared.testing import TESTER, wait_until
from tests.integration.hall import value

# Leases.


async def test_a_lease_is_extended_even_while_a_handler_blocks_the_loop(hall):
    async def rude(_):
        time.sleep(2.5)  # noqa: ASYNC251 - the point

    run = await hall.a_run_of(rude)
    due = hall.bench.log.keys(0).due
    seen = []
    hall.start(lease=1.5)
    asked = asyncio.get_running_loop().run_in_executor(None, _watch_score, hall.url, due, run, seen)
    await hall.ended(run)
    await asked
    assert len(set(seen)) > 1
    assert (await hall.types(run)).count("RunStarted") == 1


def _watch_score(url, due, run, seen):
    """From a thread: the loop is blocked."""
    import redis  # noqa: PLC0415

    with redis.Redis.from_url(url) as client:
        until = time.monotonic() + 4
        while time.monotonic() < until and len(set(seen)) < 2:
            if (score := client.zscore(due, f"run:{run}")) is not None:
                seen.append(score)
            time.sleep(0.02)


def a_heartbeat(hall):
    lease = timedelta(seconds=60)
    return heartbeat.Heartbeat(hall.url, hall.bench.log, lease=lease, on_found=lambda _: None)


async def test_a_lease_is_not_extended_for_a_run_that_is_not_ours_any_more(hall):
    run = await hall.a_run()
    [claim] = await Claims(hall.bench.log, queues=["default"], consumer="them").take(1)
    started = await hall.bench.decider.decide(f"run:{run}", StartRun(worker="them"), TESTER, done=claim.done)
    fence = started.after.fence
    beat = a_heartbeat(hall)
    due = hall.bench.log.keys(0).due
    beat.hold(run, fence)
    before = await hall.bench.redis.zscore(due, f"run:{run}")
    assert beat.beat(extend=True) == ([], [])
    assert await hall.bench.redis.zscore(due, f"run:{run}") > before
    beat.release(run, fence)
    beat.hold(run, "1-1")
    before = await hall.bench.redis.zscore(due, f"run:{run}")
    assert beat.beat(extend=True) == ([(run, "1-1")], [])
    assert await hall.bench.redis.zscore(due, f"run:{run}") == before
    beat.release(run, "1-1")
    beat.hold(run, fence)
    await hall.lose(run)
    assert beat.beat(extend=True) == ([(run, fence)], [])  # queued again: same fence, not running
    assert await hall.bench.redis.zscore(due, f"run:{run}") is None
    beat.stop()


async def test_a_heartbeat_stops_when_the_loop_has_been_stuck_too_long(hall, monkeypatch):
    monkeypatch.setattr(heartbeat, "LOOP_STUCK_S", 0.2)
    monkeypatch.setattr(heartbeat, "LOOK_EVERY_S", 0.05)
    beat = a_heartbeat(hall)
    beat.start()
    await wait_until(lambda: beat.trouble, "it has noticed")
    assert "stuck" in beat.trouble
    beat.tick()
    monkeypatch.setattr(heartbeat, "LOOP_STUCK_S", 60)
    await wait_until(lambda: not beat.trouble, "it beats again")
    await asyncio.to_thread(beat.stop)


async def test_a_handler_whose_run_was_given_away_is_cancelled_and_reports_nothing(hall):
    cancelled = []

    async def handler(run):
        if run.attempt == 1:
            try:
                await asyncio.sleep(3600)
            finally:
                cancelled.append(run.fence)
        return run.attempt

    run = await hall.a_run_of(handler)
    executor = hall.start()
    await hall.running_now(run)
    await hall.lose(run)
    state = await hall.ended(run)
    assert (state.attempt, state.lost) == (2, 1)
    await wait_until(lambda: cancelled, "the first start's handler was cancelled")
    assert await hall.types(run) == [
        "RunRequested", "RunStarted", "RunLost", "RunQueued", "RunStarted", "RunSucceeded",
    ]  # fmt: skip
    assert value(executor.metrics, "leases_lost_total") == 1


async def test_a_result_from_a_worker_that_lost_its_lease_is_refused(hall, monkeypatch):
    monkeypatch.setattr(heartbeat, "LOOK_EVERY_S", 60)  # it never hears of it
    release = asyncio.Event()

    async def handler(run):
        if run.attempt == 1:
            await release.wait()
            return "stale"
        return "fresh"

    run = await hall.a_run_of(handler)
    executor = hall.start(lease=600.0)
    await hall.running_now(run)
    await hall.lose(run)
    await hall.ended(run)
    release.set()
    await wait_until(lambda: value(executor.metrics, "results_refused_total") == 1, "it was refused")
    assert [e.change().event.result for e in await hall.events(run) if e.type == "RunSucceeded"] == ["fresh"]
