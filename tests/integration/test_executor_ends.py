"""How attempts end on a real server: cancelled, expired, by a handler's wish; and what they said before."""

import asyncio
import contextlib
import json
import logging

import pytest

from services.executor.attempt import Attempt
from services.executor.plugins import Handler
from shared.domain.commands import CancelRun
from shared.domain.refusals import IllegalTransition
from shared.domain.retry import RetryPolicy
from shared.testing import TESTER, wait_until
from tests.integration import blocking_calls
from tests.integration.hall import value

CANCEL = CancelRun(by="ada", reason="no need")


async def cancel(hall, run):
    return await hall.bench.decider.decide(f"run:{run}", CANCEL, TESTER)


# Cancels.


async def test_a_queued_run_is_cancelled_at_once_and_leaves_its_work_stream(hall):
    run, other = await hall.a_run(), await hall.a_run()
    await cancel(hall, run)
    assert (await hall.state(run)).status == "cancelled"
    assert await hall.streams() == (1, 0)
    hall.start()
    assert (await hall.ended(other)).status == "succeeded"
    assert await hall.types(run) == ["RunRequested", "RunCancelled"]


async def test_a_run_that_is_cancelled_between_claim_and_start_is_not_started(hall):
    run = await hall.a_run()
    executor = hall.executor()
    [claim] = await executor._claims.take(1)
    await cancel(hall, run)
    executor.begin(claim)
    await asyncio.wait_for(executor._all_ended.wait(), 10)
    assert await hall.types(run) == ["RunRequested", "RunCancelled"]
    assert await hall.streams() == (0, 0)


async def test_a_running_handler_is_cancelled_within_two_seconds(hall):
    cancelled = asyncio.Event()

    async def handler(_):
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    run = await hall.a_run_of(handler)
    executor = hall.start()
    await hall.running_now(run)
    await cancel(hall, run)
    async with asyncio.timeout(2):
        await cancelled.wait()
    state = await hall.ended(run)
    assert (state.status, state.cancel.by) == ("cancelled", "ada")
    assert await hall.types(run) == ["RunRequested", "RunStarted", "RunCancelRequested", "RunCancelled"]
    await wait_until(
        lambda: value(executor.metrics, "attempts_total", job_type="test_0", outcome="cancelled") == 1,
        "it is counted",
    )


async def test_a_blocking_handler_is_killed_by_a_cancel(hall):
    run = await hall.a_run(job_type="cleanup_task")
    executor = hall.executor()
    executor._worker.handlers["cleanup_task"] = Handler(call=blocking_calls.say_and_sleep, blocking=True)
    hall.start(executor)
    await hall.running_now(run)
    await wait_until(lambda: hall.progress(run), "the handler is at work", timeout_s=20)
    await cancel(hall, run)
    assert (await hall.ended(run)).status == "cancelled"
    *_, output, end = await hall.events(run)
    assert (output.type, end.type) == ("RunOutput", "RunCancelled")
    assert output.change().event.text.endswith(" begun\n")


async def test_a_handler_that_ignores_its_cancel_is_left_behind_and_its_run_cancelled(hall, monkeypatch):
    monkeypatch.setitem(Attempt.stop.__kwdefaults__, "patience_s", 0.2)
    release = asyncio.Event()

    async def stubborn(_):
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    run = await hall.a_run_of(stubborn)
    hall.start()
    await hall.running_now(run)
    await cancel(hall, run)
    assert (await hall.ended(run)).status == "cancelled"
    release.set()


async def test_a_result_that_is_first_stands_and_the_cancel_is_told_so(hall):
    go = asyncio.Event()

    async def handler(_):
        await go.wait()
        return "done"

    run = await hall.a_run_of(handler)
    hall.start()
    await hall.running_now(run)
    go.set()
    await hall.ended(run)
    with pytest.raises(IllegalTransition, match="succeeded"):
        await cancel(hall, run)


async def test_a_result_that_comes_between_a_cancel_and_its_heeding_stands(hall):
    go = asyncio.Event()

    async def handler(_):
        await go.wait()
        return "done"

    run = await hall.a_run_of(handler)
    hall.start()
    await hall.running_now(run)
    await cancel(hall, run)
    go.set()
    assert (await hall.ended(run)).status in {"succeeded", "cancelled"}
    ends = [each for each in await hall.types(run) if each in {"RunSucceeded", "RunCancelled"}]
    assert len(ends) == 1


async def test_a_retry_that_waits_is_cancelled_at_once(hall):
    run = await hall.a_run(job_data={"operation": "fail"}, retry=RetryPolicy(initial_seconds=100))
    hall.start()

    async def is_retrying():
        return (await hall.state(run)).status == "retrying"

    await wait_until(is_retrying, "a retry is planned")
    await cancel(hall, run)
    assert (await hall.state(run)).status == "cancelled"
    assert await hall.bench.redis.zscore(hall.bench.log.keys(0).due, f"run:{run}") is None


# Deadlines.


async def test_a_run_claimed_after_its_start_deadline_is_not_started(hall):
    run = await hall.a_run(start_deadline_seconds=1)
    due = hall.bench.log.keys(0).due
    deadline_ms = await hall.bench.redis.zscore(due, f"run:{run}")

    async def has_passed():
        return (await hall.bench.log.sync()).timestamp() * 1000 > deadline_ms

    await wait_until(has_passed, "its deadline has passed")
    executor = hall.start()
    assert (await hall.ended(run)).status == "expired"
    assert await hall.types(run) == ["RunRequested", "RunExpired"]
    assert await hall.streams() == (0, 0)
    assert await hall.bench.redis.zscore(due, f"run:{run}") is None
    assert value(executor.metrics, "runs_finished_total", job_type="custom", outcome="expired") == 1


# What handlers ask for, and say.


async def test_a_handler_asks_for_another_attempt_in_its_own_time(hall):
    async def handler(run):
        run.retry_in(500, "busy")

    run = await hall.a_run_of(handler, retry=RetryPolicy(max_retries=1, retry_on=("OSError",)))
    hall.start()

    async def planned():
        return (await hall.state(run)).status == "retrying"

    await wait_until(planned, "a retry is planned")
    event = (await hall.events(run))[-1].change().event
    assert (event.delay_seconds, event.error.class_, event.error.message) == (500, "RetryIn", "busy")


async def test_a_handler_gives_up_though_attempts_are_left(hall):
    async def handler(run):
        run.give_up("no such customer")

    run = await hall.a_run_of(handler)
    hall.start()
    assert (await hall.ended(run)).status == "failed"
    event = (await hall.events(run))[-1].change().event
    assert (event.attempt, event.error.class_, event.error.message) == (1, "GiveUp", "no such customer")


async def test_what_a_handler_logs_is_recorded_with_its_attempt(hall):
    async def handler(run):
        run.log("begun")
        logging.getLogger("a.library").warning("%d left", 3)
        if run.attempt == 1:
            raise ConnectionError("no")
        return "done"

    run = await hall.a_run_of(handler, retry=RetryPolicy(initial_seconds=0))
    hall.start()

    async def planned():
        return (await hall.state(run)).status == "retrying"

    await wait_until(planned, "a retry is planned")
    await hall.wake(run)
    assert (await hall.ended(run)).status == "succeeded"
    outputs = [each.change().event for each in await hall.events(run) if each.type == "RunOutput"]
    assert [each.attempt for each in outputs] == [1, 2]
    lines = [line.rpartition("Z ")[2] for line in outputs[0].text.splitlines()]
    assert lines == ["begun", "WARNING a.library: 3 left"]


async def test_a_handler_that_says_nothing_has_no_output(hall):
    run = await hall.a_run()
    hall.start()
    await hall.ended(run)
    assert "RunOutput" not in await hall.types(run)


async def test_progress_is_shown_while_it_runs_and_is_that_of_this_start(hall):
    step = asyncio.Event()

    async def handler(run):
        if run.attempt == 1:
            run.progress(0.25, "a quarter")
            await step.wait()
            raise ConnectionError("no")
        await asyncio.sleep(3600)

    run = await hall.a_run_of(handler, retry=RetryPolicy(initial_seconds=0))
    hall.start(drain_seconds=0)
    told = await wait_until(lambda: hall.progress(run), "progress is shown")
    assert json.loads(told) == {"ratio": 0.25, "message": "a quarter"}
    step.set()

    async def planned():
        return (await hall.state(run)).status == "retrying"

    await wait_until(planned, "a retry is planned")
    await hall.wake(run)
    await hall.running_now(run)
    assert await hall.progress(run) is None
