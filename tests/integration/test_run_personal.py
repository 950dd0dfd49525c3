"""Personal data on its way through the executor: the handler has the values, and nobody else without the key."""

import asyncio
import contextlib
import json
from types import SimpleNamespace

import pytest

from services.executor.personal import Opened, Seal
from services.executor.plugins import Handler
from shared import logs
from shared.domain.commands import InterruptRun, Output
from shared.domain.refusals import Refused
from shared.domain.retry import RetryPolicy
from shared.job_types.secrets import Revealed
from shared.personal.sealing import ERASED, JOB_DATA, Place, is_sealed, is_sealed_text, opened, seal
from shared.testing import a_job_id, wait_until
from tests.integration import blocking_calls
from tests.integration.hall import NO_RETRIES

KEY, OTHER = b"k" * 32, b"o" * 32
WHO = "zoë.marker-7f3a@example.com"
MARKER = "marker-7f3a"


class Keys:
    """The keys of jobs as a test has them; `away`: no store answers."""

    def __init__(self, **known):
        self.known, self.away, self.asked = known, False, 0

    async def of(self, job_ids):
        self.asked += 1
        if self.away:
            raise ConnectionError("both stores are away")
        return {each: self.known[each] for each in job_ids if each in self.known}


@pytest.fixture
def job(hall):
    """A job's id, and the means to seal its data."""
    job_id = a_job_id()
    hall.personal = Keys(**{job_id: KEY})

    def sealed(value, *where, key=KEY):
        place = Place(job_id, JOB_DATA)
        for part in where:
            place = place.inner(part)
        return seal(value, key, place)

    return SimpleNamespace(id=job_id, sealed=sealed)


async def handler(run):
    """As a plug-in's, on the loop."""
    return blocking_calls.tell_what_is_personal(run)


def data(job, **more):
    return {"to": job.sealed([WHO], "to"), "end": "return"} | more


async def end_of(hall, run):
    return (await hall.events(run))[-1].change().event


@pytest.mark.parametrize("blocking", [False, True], ids=["loop", "process"])
@pytest.mark.parametrize("end", ["return", "raise"])
async def test_what_is_personal_stands_nowhere_in_the_clear(hall, job, capfd, blocking, end):
    run = await hall.a_run_of(handler, job=job.id, job_data=data(job, end=end), retry=NO_RETRIES)
    executor = hall.executor()
    logs.configure("INFO", "json", "executor")
    told, tell = [], executor._worker.heartbeat.tell
    executor._worker.heartbeat.tell = lambda *said: (told.append(said[-1]), tell(*said))
    if blocking:
        call = blocking_calls.tell_what_is_personal
        executor._worker.handlers["test_0"] = Handler(call=call, blocking=True)
    hall.start(executor)
    state = await hall.ended(run, timeout_s=30)
    await hall.stop(executor)
    entries = await hall.bench.redis.xrange(hall.bench.log.keys(0).log)
    lines = capfd.readouterr().err
    for text in (repr(entries), lines, *told, str(state)):
        assert MARKER not in text
    assert '"structured ***"' in lines
    assert "logging ***" in lines
    keys = {job.id: KEY}
    [output] = [each.change().event for each in await hall.events(run) if each.type == "RunOutput"]
    assert is_sealed_text(output.text)
    assert f"log {WHO}\n" in opened(output.text, keys)
    assert f"WARNING their.library: logging {WHO}\n" in opened(output.text, keys)
    assert opened(json.loads(told[0]), keys) == {"ratio": 0.5, "message": f"progress {WHO}"}
    last = await end_of(hall, run)
    if end == "return":
        assert is_sealed(last.result)
        assert opened(last.result, keys) == {"sent": [WHO], "kind": "Opened"}
    else:
        assert (last.error.class_, opened(last.error.message, keys)) == ("ValueError", f"no mailbox {WHO}")
        assert last.error.message != opened(last.error.message, keys)


async def test_the_handler_is_told_texts_and_the_runs_own_data_stays_sealed(hall, job, monkeypatch):
    monkeypatch.setenv("DAYBOOK_SECRET__TOKEN", "hunter2")
    seen = []

    async def look(run):
        seen.append(run.job_data)

    sealed = data(job, deep=[{"who": job.sealed({"n": 1, "names": [WHO]}, "deep", 0, "who")}], plain="p")
    sealed |= {"token": {"$secret": "TOKEN"}, "hidden": job.sealed({"$secret": "TOKEN"}, "hidden")}
    run = await hall.a_run_of(look, job=job.id, job_data=sealed)
    hall.start()
    state = await hall.ended(run)
    assert seen == [
        {
            "to": [WHO], "end": "return", "deep": [{"who": {"n": 1, "names": [WHO]}}], "plain": "p",
            "token": "hunter2", "hidden": "hunter2",
        }
    ]  # fmt: skip
    assert {type(seen[0]["to"][0]), type(seen[0]["deep"][0]["who"]["names"][0])} == {Opened}
    assert (type(seen[0]["plain"]), type(seen[0]["hidden"])) == (str, Revealed)
    assert state.spec.job_data == sealed
    assert (await end_of(hall, run)).result is None  # nothing says nothing


async def test_a_run_without_personal_data_asks_for_no_key_and_says_it_plainly(hall, job):
    run = await hall.a_run(job_data={"operation": "echo", "parameters": {"a": 1}}, job=job.id)
    hall.start()
    await hall.ended(run)
    assert (await end_of(hall, run)).result == {"a": 1}
    assert hall.personal.asked == 0


async def never(run):
    raise AssertionError("was called")


async def test_a_run_of_an_erased_job_fails_for_good(hall, job):
    hall.personal.known[job.id] = ERASED
    retry = RetryPolicy(max_retries=5, initial_seconds=0.01)
    run = await hall.a_run_of(never, job=job.id, job_data=data(job), retry=retry)
    hall.start()
    state = await hall.ended(run)
    last = await end_of(hall, run)
    assert (state.status, state.attempt, last.error.class_) == ("failed", 1, "PersonalDataErased")
    assert last.error.message == f"the personal data of job {job.id} was erased"


async def test_a_handler_that_is_at_work_ends_as_it_would_and_opens_for_nobody(hall, job):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(run):
        begun.set()
        await go_on.wait()
        return {"sent": run.job_data["to"]}

    run = await hall.a_run_of(slow, job=job.id, job_data=data(job))
    hall.start()
    await asyncio.wait_for(begun.wait(), 10)
    hall.personal.known[job.id] = ERASED
    go_on.set()
    assert (await hall.ended(run)).status == "succeeded"
    result = (await end_of(hall, run)).result
    assert opened(result, {job.id: KEY}) == {"sent": [WHO]}
    assert opened(result, await hall.personal.of([job.id])) == {"$erased": True}


async def test_data_that_was_sealed_for_another_place_or_by_another_key_gives_the_run_up(hall, job):
    other = a_job_id()
    hall.personal.known[other] = KEY
    runs = [
        await hall.a_run_of(never, job=job.id, job_data={"to": job.sealed([WHO], "to", key=OTHER)}),
        await hall.a_run_of(never, job=other, job_data=data(job)),
    ]
    hall.start()
    for run in runs:
        assert (await hall.ended(run)).attempt == 1
        assert (await end_of(hall, run)).error.class_ == "PersonalDataUnreadable"


async def test_a_key_that_is_lost_may_come_back(hall, job):
    del hall.personal.known[job.id]
    retry = RetryPolicy(max_retries=1, initial_seconds=0.01)
    run = await hall.a_run_of(handler, job=job.id, job_data=data(job), retry=retry)
    hall.start()

    async def waits():
        return (await hall.state(run)).status == "retrying"

    await wait_until(waits, "another attempt is planned")
    planned = (await hall.events(run))[-1].change().event
    assert (planned.error.class_, planned.attempt) == ("PersonalKeyLost", 1)
    hall.personal.known[job.id] = KEY

    async def has_come():
        with contextlib.suppress(Refused):
            await hall.wake(run)
        return (await hall.state(run)).status != "retrying"

    await wait_until(has_come, "the run is queued again")
    assert (await hall.ended(run)).status == "succeeded"


async def test_a_store_that_is_away_is_no_failure_of_the_run(hall, job, monkeypatch):
    monkeypatch.setattr("services.executor.claims.ADOPT_IDLE_MS", 100)
    monkeypatch.setattr("services.executor.service.ADOPT_EVERY_S", 0.1)
    hall.personal.away = True
    run = await hall.a_run_of(handler, job=job.id, job_data=data(job), retry=NO_RETRIES)
    hall.start()

    async def was_tried():
        return hall.personal.asked >= 2

    await wait_until(was_tried, "the key was asked for again")
    assert await hall.types(run) == ["RunRequested"]
    hall.personal.away = False
    assert (await hall.ended(run)).attempt == 1
    assert (await hall.types(run))[-1] == "RunSucceeded"


def test_a_seal_without_a_key_seals_nothing():
    for key in (ERASED, None):
        report = InterruptRun(fence="1-2", output=Output(text="t"))
        assert Seal(job_id=a_job_id(), key=key).report(report) == report
