"""Secrets on their way through the executor: the handler has the value, and nobody else ever sees it."""

import json
import logging
import threading
from functools import partial

import pytest

from services.executor import attempt
from services.executor.handlers import custom
from services.executor.notebook import Notebook, capture
from services.executor.outcome import MESSAGE_MAX, Returned
from services.executor.plugins import Handler
from services.executor.pool import Pool
from services.executor.secrets import Secrets
from shared import logs
from shared.domain.retry import RetryPolicy
from shared.job_types.secrets import Revealed
from shared.testing import a_told_run, resources, wait_until
from tests.integration import blocking_calls
from tests.integration.hall import NO_RETRIES

VALUE = "hunter2/and more"
REFERENCE = {"$secret": "PASSWORD"}


@pytest.fixture(autouse=True)
def _a_secret(monkeypatch):
    monkeypatch.setenv("DAYBOOK_SECRET__PASSWORD", VALUE)
    monkeypatch.setattr(logs, "_hidden", {})
    monkeypatch.setattr(logs, "_hiding", None)


async def handler(run):
    """As a plug-in's, on the loop."""
    return blocking_calls.tell_the_secret(run)


async def everything_about(hall, run):
    """All that can be read of a run anywhere: its events, its progress, its whole keyspace."""
    events = [str(each) for each in await hall.events(run)]
    entries = await hall.bench.redis.xrange(hall.bench.log.keys(0).log)
    assert entries
    return "\n".join([*events, repr(entries)])


def of_the_pool(executor, name, call=blocking_calls.tell_the_secret):
    """Have this handler called in a process."""
    executor._worker.handlers[name] = Handler(call=call, blocking=True)


@pytest.mark.parametrize("blocking", [False, True], ids=["loop", "process"])
@pytest.mark.parametrize("end", ["return", "raise"])
async def test_a_revealed_value_shows_nowhere(hall, capfd, blocking, end):
    run = await hall.a_run_of(handler, job_data={"secret": REFERENCE, "end": end}, retry=NO_RETRIES)
    executor = hall.executor()
    logs.configure("INFO", "json", "executor")
    told = []
    tell = executor._worker.heartbeat.tell
    executor._worker.heartbeat.tell = lambda *said: (told.append(said[-1]), tell(*said))
    if blocking:
        of_the_pool(executor, "test_0")
    hall.start(executor)
    state = await hall.ended(run, timeout_s=30)
    await hall.stop(executor)
    assert state.status == ("succeeded" if end == "return" else "failed")
    seen = await everything_about(hall, run)
    lines = capfd.readouterr().err
    for text in (seen, lines, *told, str(state)):
        assert VALUE not in text
        assert "hunter2" not in text
    output = (await output_of(hall, run)).text
    for said in ("log ***", "WARNING their.library: logging ***"):
        assert said in output
    assert told == ['{"ratio": 0.5, "message": "progress ***"}']
    ours = [json.loads(line) for line in lines.splitlines() if '"logger":"ours"' in line]
    assert [line["word"] for line in ours] == ["structured ***"]
    assert '"thread ***"' in lines
    if end == "return":
        assert await result_of(hall, run) == {"said": "result ***", "***": 1, "kind": "Revealed"}
    else:
        error = (await hall.events(run))[-1].change().event.error
        assert (error.class_, error.message) == ("***Error", "raised ***")


async def cut_short(run):
    """Raise what is cut in the middle of the secret."""
    raise ValueError("x" * (MESSAGE_MAX - 5) + run.job_data["secret"])


async def test_no_half_of_a_value_shows_where_an_error_is_cut(hall):
    run = await hall.a_run_of(cut_short, job_data={"secret": REFERENCE}, retry=NO_RETRIES)
    hall.start()
    await hall.ended(run)
    error = (await hall.events(run))[-1].change().event.error
    assert error.message == "x" * (MESSAGE_MAX - 5) + "***"


async def output_of(hall, run):
    [output] = [each.change().event for each in await hall.events(run) if each.type == "RunOutput"]
    return output


async def result_of(hall, run):
    return (await hall.events(run))[-1].change().event.result


async def test_the_reference_stays_in_the_runs_own_data(hall):
    seen = []

    async def look(run):
        seen.append(run.job_data)

    run = await hall.a_run_of(look, job_data={"a": [{"b": REFERENCE}], "c": 1})
    hall.start()
    state = await hall.ended(run)
    assert seen == [{"a": [{"b": VALUE}], "c": 1}]
    assert type(seen[0]["a"][0]["b"]) is Revealed
    assert state.spec.job_data == {"a": [{"b": REFERENCE}], "c": 1}


async def test_an_echo_answers_with_the_mask(hall):
    run = await hall.a_run(job_data={"operation": "echo", "parameters": {"a": REFERENCE, "b": 1}})
    hall.start()
    await hall.ended(run)
    assert await result_of(hall, run) == {"a": "***", "b": 1}


async def test_a_secret_that_is_missing_gives_the_run_up_before_its_handler_is_called(hall):
    called = []

    async def look(run):
        called.append(run)

    forever = RetryPolicy(max_retries=9, initial_seconds=0.01)
    run = await hall.a_run_of(look, job_data={"a": {"$secret": "ELSEWHERE"}}, retry=forever)
    hall.start()
    state = await hall.ended(run)
    assert (state.status, state.attempt, called) == ("failed", 1, [])
    error = (await hall.events(run))[-1].change().event.error
    assert error.class_ == "SecretMissing"
    assert "DAYBOOK_SECRET__ELSEWHERE" in error.message


async def test_secrets_on_a_disk_that_hangs_fail_the_attempt(hall, monkeypatch):
    hangs = threading.Event()
    monkeypatch.setattr(attempt, "REVEALED_WITHIN_S", 0.1)
    monkeypatch.setattr(Secrets, "_looked_up", lambda *_: hangs.wait(20))
    run = await hall.a_run_of(handler, job_data={"secret": REFERENCE}, retry=NO_RETRIES)
    hall.start()
    state = await hall.ended(run)
    hangs.set()
    assert state.status == "failed"
    assert (await hall.events(run))[-1].change().event.error.class_ == "TimeoutError"


async def test_a_secret_that_was_changed_is_used_by_the_next_attempt(hall, tmp_path):
    (tmp_path / "PASSWORD").write_text("wrong")
    seen = []

    async def look(run):
        seen.append(str(run.job_data["a"]))
        (tmp_path / "PASSWORD").write_text("right\n")
        if len(seen) == 1:
            run.retry_in(0)

    run = await hall.a_run_of(look, job_data={"a": REFERENCE}, retry=RetryPolicy(max_retries=1))
    hall.start(secrets_dir=tmp_path)

    async def waits_for_the_timer():
        return (await hall.state(run)).status == "retrying"

    await wait_until(waits_for_the_timer, "the retry is planned")
    await hall.wake(run)
    await hall.ended(run)
    assert seen == ["wrong", "right"]


async def test_two_runs_hide_their_own_secrets_and_not_each_others(hall, monkeypatch):
    monkeypatch.setenv("DAYBOOK_SECRET__OTHER", "an ordinary word")

    async def look(run):
        return f"{run.job_data['a']} / {VALUE} / an ordinary word"

    first = await hall.a_run_of(look, job_data={"a": REFERENCE})
    second = await hall.a_run_of(look, job_data={"a": {"$secret": "OTHER"}})
    hall.start()
    for run in (first, second):
        await hall.ended(run)
    assert await result_of(hall, first) == "*** / *** / an ordinary word"
    assert await result_of(hall, second) == f"*** / {VALUE} / ***"


# What handlers of ours ask for themselves, in a process of their own.


async def test_what_a_handler_reveals_in_its_process_is_masked_there(capfd):
    capture()
    pool = Pool(processes=1, log_level="INFO", log_format="json")
    notebook = Notebook((progress := []).append)
    told = resources(secrets=Secrets(environ={"DAYBOOK_SECRET__OTHER": "only-the-child-knows"}))
    call = partial(blocking_calls.tell_what_resources_reveal, told)
    try:
        outcome = await pool.call(call, a_told_run(name="OTHER"), notebook, timeout_s=30, context={})
        failed = await pool.call(
            call, a_told_run(name="OTHER", raises=True), Notebook(print), timeout_s=30, context={}
        )
        again = await pool.call(
            blocking_calls.carry_out,
            a_told_run(program="run.log('only-the-child-knows')"),
            (other := Notebook(print)),
            timeout_s=30,
            context={},
        )
    finally:
        pool.stop()
        pool.close()
    assert outcome == Returned(result={"said": "result ***"})
    assert failed.error.message.endswith("raised ***")
    assert "only" not in failed.error.message
    assert progress == ['{"ratio": 0.5, "message": "progress ***"}']
    assert "log ***" in notebook.output().text
    assert "only-the-child-knows" not in notebook.output().text + capfd.readouterr().err
    assert again == Returned(result=None)
    assert "only-the-child-knows" in other.output().text  # another call's mask is another


async def test_a_thread_that_lost_its_context_writes_masked_lines_too(capfd):
    logs.configure("INFO", "json", "executor")
    Secrets(environ={"DAYBOOK_SECRET__A": VALUE}).revealed({"$secret": "A"})
    thread = threading.Thread(target=logging.getLogger("their.thread").warning, args=(f"said {VALUE}",))
    thread.start()
    thread.join()
    assert "said ***" in capfd.readouterr().err


async def test_handlers_of_ours_are_called_with_resources_that_know_their_run():
    notebook = Notebook(print)
    run = a_told_run(operation="echo", parameters={"a": 1})
    assert await custom.handle(run, resources().for_run(notebook.mask)) == {"a": 1}
