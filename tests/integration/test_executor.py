"""The executor on a real server: claims, starts, calls, judges, records; and when something goes wrong."""

import asyncio
import contextlib
import os
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest

from services.executor.attempt import Attempt
from services.executor.claims import Claims
from services.executor.plugins import Handler
from shared.domain.retry import RetryPolicy
from shared.eventlog.keys import GROUP
from shared.testing import wait_until
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
