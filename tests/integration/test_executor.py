"""The executor on a real server: claims, starts, calls, judges, records; and when something goes wrong."""

import asyncio
import contextlib
import os
import time
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest

from services.executor import bells, claims, heartbeat, service
from services.executor.attempt import Attempt
from services.executor.claims import Claims, plan
from services.executor.plugins import Handler
from shared.domain import ids
from shared.domain.commands import StartRun
from shared.domain.retry import RetryPolicy
from shared.eventlog.keys import GROUP
from shared.testing import TESTER, chance, wait_until
from tests.integration.hall import NO_RETRIES, value

# The way of a run.


async def test_a_run_is_told_the_zone_that_its_job_was_in_when_it_was_requested(hall):
    async def handler(run):
        return run.timezone

    zoned = await hall.a_run_of(handler, timezone="Europe/Warsaw")
    plain = await hall.a_run_of(handler)
    hall.start()
    for run, zone in ((zoned, "Europe/Warsaw"), (plain, "UTC")):
        assert (await hall.ended(run)).status == "succeeded"
        (ended,) = [each for each in await hall.events(run) if each.type == "RunSucceeded"]
        assert zone in ended.data


async def test_a_queued_run_is_started_called_and_recorded(hall):
    run = await hall.a_run(job_data={"operation": "echo", "parameters": {"a": 1}})
    executor = hall.start(name="worker-1")
    state = await hall.ended(run)
    assert (state.status, state.attempt) == ("succeeded", 1)
    requested, started, succeeded = await hall.events(run)
    assert [requested.type, started.type, succeeded.type] == ["RunRequested", "RunStarted", "RunSucceeded"]
    assert started.change().event.worker == "worker-1"
    assert succeeded.change().event.result == {"a": 1}
    assert (started.actor, started.corr) == ("executor", "the-cause")
    assert (succeeded.cause, succeeded.corr) == (started.id, "the-cause")
    assert await hall.streams() == (0, 0)
    assert value(executor.metrics, "runs_finished_total", job_type="custom", outcome="succeeded") == 1
    assert value(executor.metrics, "start_delay_seconds_count") == 1


async def test_a_handler_is_told_about_its_run_and_may_change_its_copy_of_the_data(hall):
    told = []

    async def handler(run):
        told.append(run)
        run.job_data["mine"] = True
        return {"attempt": run.attempt}

    run = await hall.a_run_of(handler, timeout_seconds=60, retry=RetryPolicy(max_retries=2))
    hall.start()
    state = await hall.ended(run)
    _, started, _ = await hall.events(run)
    [said] = told
    assert (said.run_id, said.job_id, said.job_name) == (run, state.job_id, "a job")
    assert (said.attempt, said.max_attempts, said.fence) == (1, 3, str(started.position))
    assert (said.correlation_id, said.scheduled_for) == ("the-cause", state.scheduled_for)
    assert timedelta(seconds=59) < said.deadline - state.scheduled_for < timedelta(seconds=70)
    assert state.spec.job_data == {}


async def test_a_run_of_a_job_that_follows_its_runs_ends_in_the_job_too(hall):
    run = await hall.a_run(overlap_policy="skip")
    job = f"job:{(await hall.state(run)).job_id}"
    assert (await hall.bench.log.load(job))[job].state.active == (run,)
    hall.start()
    await hall.ended(run)
    assert (await hall.bench.log.load(job))[job].state.active == ()


async def test_a_failure_is_followed_by_a_retry_as_the_policy_says(hall):
    told = {"operation": "fail", "parameters": {"message": "no", "error_class": "ConnectionError"}}
    policy = RetryPolicy(max_retries=1, initial_seconds=100, retry_on=("OSError",), jitter=0)
    run = await hall.a_run(job_data=told, retry=policy)
    hall.start()

    async def planned():
        return (await hall.state(run)).status == "retrying"

    await wait_until(planned, "a retry is planned")
    event = (await hall.events(run))[-1].change().event
    assert (event.error.class_, event.error.message, event.delay_seconds) == ("ConnectionError", "no", 100)


async def test_a_failure_without_retries_left_is_the_end_of_the_run(hall):
    run = await hall.a_run(job_data={"operation": "fail"}, retry=NO_RETRIES)
    executor = hall.start()
    assert (await hall.ended(run)).status == "failed"
    event = (await hall.events(run))[-1].change().event
    assert (event.error.class_, event.error.message) == ("RuntimeError", "it was told to fail")
    assert value(executor.metrics, "attempts_total", job_type="custom", outcome="failed") == 1


async def test_a_cleanup_task_really_deletes_in_a_process_of_its_own(hall, tmp_path):
    (tmp_path / "old").write_text("x" * 5)
    data = {"cleanup_type": "temp_files", "retention_days": 0, "path": str(tmp_path)}
    run = await hall.a_run(job_type="cleanup_task", job_data=data)
    hall.start(files_roots=[str(tmp_path)])
    assert (await hall.ended(run, timeout_s=20)).status == "succeeded"
    result = (await hall.events(run))[-1].change().event.result
    assert result == {"files": 1, "bytes": 5, "errors": [], "dry_run": False}
    assert not (tmp_path / "old").exists()


async def test_a_handler_is_an_operation_of_custom_too_and_told_the_same(hall):
    told = []

    async def handler(run):
        told.append(run)
        return {"type": run.job_type, **run.job_data}

    hall.handlers["thumbnail"] = handler
    job_data = {"operation": "thumbnail", "parameters": {"width": 3}}
    run = await hall.a_run(job_type="custom", job_data=job_data)
    bare = await hall.a_run(job_type="custom", job_data={"operation": "thumbnail"})
    hall.start()
    state = await hall.ended(run)
    assert (await hall.events(run))[-1].change().event.result == {"type": "thumbnail", "width": 3}
    assert state.spec.job_data == job_data
    await hall.ended(bare)
    assert (await hall.events(bare))[-1].change().event.result == {"type": "thumbnail"}
    assert [each.run_id for each in told] == [run, bare]


async def test_a_handler_called_like_an_operation_of_ours_does_not_take_its_place(hall):
    async def handler(_):
        return {"mine": True}

    hall.handlers["echo"] = handler
    ours = await hall.a_run(job_type="custom", job_data={"operation": "echo", "parameters": {"a": 1}})
    theirs = await hall.a_run(job_type="echo", job_data={})
    hall.start()
    await hall.ended(ours)
    await hall.ended(theirs)
    assert (await hall.events(ours))[-1].change().event.result == {"a": 1}
    assert (await hall.events(theirs))[-1].change().event.result == {"mine": True}


async def test_a_result_that_cant_be_kept_fails_the_attempt(hall):
    async def handler(_):
        return {"x": float("nan")}

    run = await hall.a_run_of(handler, retry=NO_RETRIES)
    hall.start()
    await hall.ended(run)
    assert (await hall.events(run))[-1].change().event.error.class_ == "BadResult"


async def test_a_type_without_a_handler_here_fails_with_a_sentence(hall):
    run = await hall.a_run(job_type="elsewhere", retry=NO_RETRIES)
    executor = hall.start()
    await hall.ended(run)
    assert "no handler for elsewhere" in (await hall.events(run))[-1].change().event.error.message
    assert value(executor.metrics, "attempts_total", job_type="unknown", outcome="failed") == 1


@pytest.mark.parametrize("ending", [SystemExit(1), asyncio.CancelledError()])
async def test_an_odd_end_of_a_handler_is_its_own_failure_and_others_go_on(hall, ending):
    async def handler(_):
        await asyncio.sleep(0)
        raise ending

    run = await hall.a_run_of(handler, retry=NO_RETRIES)
    executor = hall.start()
    assert (await hall.ended(run)).status == "failed"
    assert (await hall.events(run))[-1].change().event.error.class_ == type(ending).__name__
    assert (await hall.ended(await hall.a_run())).status == "succeeded"
    assert not executor.task.done()


# Timeouts.


async def test_a_handler_that_takes_too_long_is_cancelled_and_its_attempt_fails(hall):
    cancelled = asyncio.Event()

    async def handler(_):
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    run = await hall.a_run_of(handler, timeout_seconds=1, retry=NO_RETRIES)
    hall.start()
    await hall.ended(run)
    error = (await hall.events(run))[-1].change().event.error
    assert (error.class_, error.message) == ("TimeoutError", "timed out after 1 s")
    assert cancelled.is_set()


async def test_a_handler_that_swallows_its_cancel_and_returns_has_timed_out_all_the_same(hall):
    async def handler(_):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return "as if nothing had happened"

    run = await hall.a_run_of(handler, timeout_seconds=1, retry=NO_RETRIES)
    hall.start()
    assert (await hall.ended(run)).status == "failed"


async def test_a_handler_that_ignores_its_cancel_is_recorded_and_left_behind(hall, monkeypatch):
    monkeypatch.setitem(Attempt.stop.__kwdefaults__, "patience_s", 0.2)
    release = asyncio.Event()

    async def stubborn(_):
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return "too late"

    run = await hall.a_run_of(stubborn, timeout_seconds=1, retry=NO_RETRIES)
    executor = hall.start(concurrency=1)
    assert (await hall.ended(run)).status == "failed"
    after = await hall.a_run()
    assert (await hall.ended(after)).status == "succeeded"  # in the one slot there is
    assert executor._left_behind
    release.set()
    await wait_until(lambda: not executor._left_behind, "the handler has ended after all")
    assert value(executor.metrics, "results_refused_total") == 0  # nobody asked for it
    assert (await hall.types(run)).count("RunFailed") == 1


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


# Stopping.


async def test_a_stop_waits_for_what_runs_and_takes_nothing_new(hall):
    release = asyncio.Event()

    async def handler(_):
        await release.wait()

    run = await hall.a_run_of(handler)
    executor = hall.start()
    await hall.running_now(run)
    executor.stop.set()
    later = await hall.a_run()
    await asyncio.sleep(0.1)
    release.set()
    await hall.stop(executor)
    assert (await hall.state(run)).status == "succeeded"
    assert (await hall.state(later)).status == "queued"


async def test_a_run_that_outlasts_the_drain_is_handed_back_and_is_no_failure(hall):
    async def handler(run):
        if run.attempt == 1:
            await asyncio.sleep(3600)
        return run.attempt

    run = await hall.a_run_of(handler)
    first = hall.start(drain_seconds=0.1)
    await hall.running_now(run)
    await hall.stop(first)
    assert await hall.types(run) == ["RunRequested", "RunStarted", "RunInterrupted", "RunQueued"]
    hall.start()
    state = await hall.ended(run)
    assert (state.status, state.attempt, state.failures, state.lost) == ("succeeded", 2, 0, 0)


async def test_a_blocking_handler_that_outlasts_the_drain_is_killed_and_handed_back(
    hall, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "plugins"))  # the pool's processes get it too
    pid_file = tmp_path / "pid"
    run = await hall.a_run(job_type="nap", job_data={"pid_file": str(pid_file)})
    executor = hall.start(drain_seconds=0.1)
    executor._worker.handlers["nap"] = Handler(call=import_module("plugin_for_tests").nap, blocking=True)
    pid = int(await wait_until(lambda: pid_file.exists() and pid_file.read_text(), "it naps"))
    await hall.stop(executor)
    assert (await hall.types(run))[-2:] == ["RunInterrupted", "RunQueued"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_stopped_executor_leaves_no_consumer_behind(hall):
    run = await hall.a_run()
    executor = hall.start(name="worker-1")
    await hall.ended(run)
    work = hall.bench.log.keys(0).work("default", 5)
    assert len(await hall.bench.redis.xinfo_consumers(work, GROUP)) == 1
    await hall.stop(executor)
    assert await hall.bench.redis.xinfo_consumers(work, GROUP) == []


async def test_leaving_hands_back_what_is_still_claimed_and_drops_nothing(hall):
    await hall.a_run()
    mine, theirs = (Claims(hall.bench.log, queues=["default"], consumer=name) for name in ("me", "them"))
    taken = await mine.take(1)
    assert await mine.leave() == 1
    assert await theirs.adopt(5) == taken


async def test_a_start_after_the_stop_is_handed_back(hall):
    run = await hall.a_run()
    executor = hall.executor()
    [claim] = await executor._claims.take(1)
    executor.begin(claim)
    for attempt in executor._attempts.values():
        attempt.handing_back = True
    await wait_until(lambda: executor.free == 4, "the slot is free")
    await executor._close()
    assert await hall.types(run) == ["RunRequested"]
    hall.start()
    assert (await hall.ended(run)).status == "succeeded"


async def test_a_result_is_not_lost_when_redis_is_away_for_a_moment(hall, monkeypatch):
    run = await hall.a_run(overlap_policy="skip")
    executor = hall.start()
    decide, failures = executor._worker.decider.decide, []

    async def away_once(ref, command, *args, **kwargs):
        if type(command).__name__ == "SucceedRun" and not failures:
            failures.append(ref)
            raise ConnectionError("Redis is away")
        return await decide(ref, command, *args, **kwargs)

    monkeypatch.setattr(executor._worker.decider, "decide", away_once)
    assert (await hall.ended(run)).status == "succeeded"
    assert failures
    assert (await hall.types(run)).count("RunStarted") == 1
