"""The kit for tests of handlers: what an executor would do with a handler, without one."""

import asyncio
import json
import logging
import subprocess
import sys

import pytest
from pydantic import BaseModel

from shared.job_types import BadJobData
from shared.job_types.plugins import BadPlugin
from shared.testing import run_handler, run_handler_async


class Words(BaseModel):
    text: str
    times: int = 1


async def shout(run):
    run.log("about to shout")
    run.progress(0.5, "half")
    logging.getLogger("mine").info("took %s", "breath")
    return {"shouted": run.job_data["text"].upper(), "times": Words(**run.job_data).times, "try": run.attempt}


shout.model = Words


def crunch(run):
    return {"sum": sum(range(run.job_data.get("n", 0)))}


def test_a_coroutine_function_is_run_and_all_that_it_says_is_told():
    outcome = run_handler(shout, {"text": "hey"}, attempt=3)
    assert outcome.succeeded
    assert outcome.result == {"shouted": "HEY", "times": 1, "try": 3}
    assert outcome.log == ("about to shout", "INFO mine: took breath")
    assert outcome.progress == ((0.5, "half"),)
    assert outcome.retried_after() is None


def test_a_plain_function_is_run_as_well():
    assert run_handler(crunch, {"n": 5}).result == {"sum": 10}
    assert run_handler(crunch).result == {"sum": 0}


async def test_in_a_test_that_is_a_coroutine_it_is_awaited():
    assert (await run_handler_async(crunch, {"n": 5})).result == {"sum": 10}
    with pytest.raises(RuntimeError, match="await run_handler_async"):
        run_handler(crunch)


@pytest.mark.parametrize(
    ("job_data", "pointer"),
    [
        ({}, "#/job_data/text"),
        ({"text": 3}, "#/job_data/text"),
        ({"text": "", "times": "x"}, "#/job_data/times"),
    ],
)
def test_data_that_no_job_could_have_is_refused_as_the_api_would(job_data, pointer):
    with pytest.raises(BadJobData) as refusal:
        run_handler(shout, job_data)
    assert [fault.pointer for fault in refusal.value.faults] == [pointer]


def test_what_is_no_json_or_no_handler_is_refused():
    with pytest.raises(ValueError, match="no JSON"):
        run_handler(crunch, {"n": {1, 2}})
    with pytest.raises(BadPlugin):
        run_handler(7)


def test_the_handler_may_do_what_it_likes_with_its_data():
    given = {"a": [1]}
    run_handler(lambda run: run.job_data["a"].append(2), given)
    assert given == {"a": [1]}


def test_a_failure_is_told_with_the_names_that_policies_use():
    def fetch(_):
        raise ConnectionResetError("gone")

    outcome = run_handler(fetch)
    assert (outcome.error, outcome.message, outcome.result) == ("ConnectionResetError", "gone", None)
    assert {"OSError", "builtins.ConnectionError"} <= set(outcome.names)
    assert outcome.retried_after() == 1
    assert outcome.retried_after(retry_on=("OSError",), initial_seconds=7) == 7
    assert outcome.retried_after(retry_on=("ValueError",)) is None
    assert outcome.retried_after(give_up_on=("ConnectionError",)) is None
    assert run_handler(fetch, attempt=4).retried_after() is None


def test_retry_in_and_give_up_are_told():
    later = run_handler(lambda run: run.retry_in(30, "not yet"))
    assert (later.error, later.message, later.retry_in_s, later.retried_after()) == (
        "RetryIn",
        "not yet",
        30,
        30,
    )
    never = run_handler(lambda run: run.give_up("gone"))
    assert (never.gave_up, never.message, never.retried_after()) == (True, "gone", None)


@pytest.mark.parametrize("value", [{"x": float("nan")}, {1, 2}, "x" * 17_000])
def test_a_result_that_cant_be_recorded_is_a_failure(value):
    outcome = run_handler(lambda _: value)
    assert (outcome.succeeded, outcome.error) == (False, "BadResult")


def test_a_result_is_what_json_makes_of_it():
    assert run_handler(lambda _: {"a": (1, 2), 3: None}).result == {"a": [1, 2], "3": None}


async def dawdle(_):
    await asyncio.Event().wait()


def test_a_handler_that_takes_too_long_is_cancelled():
    outcome = run_handler(dawdle, timeout_s=0.05)
    assert (outcome.error, outcome.message) == ("TimeoutError", "timed out after 0.05 s")


def test_exits_and_cancels_of_the_handlers_own_are_failures():
    async def cancelled(_):
        raise asyncio.CancelledError

    assert run_handler(lambda _: sys.exit(3)).error == "SystemExit"
    assert run_handler(cancelled).error == "CancelledError"


async def test_a_test_that_is_cancelled_is():
    task = asyncio.create_task(run_handler_async(dawdle))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_secrets_are_revealed_to_the_handler_and_masked_in_what_it_says():
    seen = []

    def login(run):
        seen.append(run.job_data["password"])
        run.log(f"logging in with {run.job_data['password']}")
        run.progress(0.1, f"{run.job_data['password']}!")
        return {"used": run.job_data["password"]}

    outcome = run_handler(login, {"password": {"$secret": "pw"}}, secrets={"pw": "hunter22"})
    assert seen == ["hunter22"]
    assert outcome.result == {"used": "***"}
    assert (outcome.log, outcome.progress) == (("logging in with ***",), ((0.1, "***!"),))
    missing = run_handler(login, {"password": {"$secret": "other"}})
    assert (missing.error, missing.gave_up) == ("SecretMissing", True)


def test_it_loads_neither_redis_nor_postgres_nor_a_web_server():
    """Whoever tests a handler has what `pip install daybook` brings, no server, and little patience."""
    look = "import json, sys; from shared.testing import run_handler; print(json.dumps(sorted(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    heavy = {"redis", "asyncpg", "quart", "hypercorn", "pebble", "duckdb", "fsspec", "pytest", "uvloop"}
    assert heavy.isdisjoint(json.loads(told.stdout))
