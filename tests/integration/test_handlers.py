"""Built-in handlers on a real file system, the process pool, what is made of results and exceptions."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from services.executor.files import OutsideFilesRoots
from services.executor.handlers import cleanup_task, custom
from services.executor.notebook import Notebook
from services.executor.outcome import Raised, Returned, raised, returned
from services.executor.plugins import NotInstalled, call_ours, handlers
from services.executor.pool import Pool
from shared.job_types import BUILT_IN, Known
from shared.testing import a_told_run as a_run
from shared.testing import resources, wait_until
from tests.integration import blocking_calls

DAY = 86_400


def a_file(path, *, days_old, size=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    then = time.time() - days_old * DAY
    os.utime(path, (then, then))
    return path


def clean(path, *roots, **options):
    data = {"cleanup_type": "temp_files", "retention_days": 7, "path": str(path)} | options
    return cleanup_task.handle(a_run("cleanup_task", **data), resources(files_roots=roots))


# cleanup_task.


def test_old_files_are_deleted_and_counted_and_young_ones_stay(tmp_path):
    old = [
        a_file(tmp_path / "a", days_old=8, size=3),
        a_file(tmp_path / "deep" / "er" / "b", days_old=9, size=4),
    ]
    young = a_file(tmp_path / "deep" / "c", days_old=6)
    assert clean(tmp_path, tmp_path) == {"files": 2, "bytes": 7, "errors": [], "dry_run": False}
    assert [path.exists() for path in [*old, young]] == [False, False, True]
    assert (tmp_path / "deep" / "er").is_dir()


def test_a_dry_run_counts_the_same_and_deletes_nothing(tmp_path):
    old = a_file(tmp_path / "a", days_old=8, size=3)
    assert clean(tmp_path, tmp_path, dry_run=True) == {"files": 1, "bytes": 3, "errors": [], "dry_run": True}
    assert old.exists()


def test_without_recursion_directories_below_are_left_alone(tmp_path):
    deep = a_file(tmp_path / "deep" / "b", days_old=9)
    a_file(tmp_path / "a", days_old=9)
    assert clean(tmp_path, tmp_path, recursive=False)["files"] == 1
    assert deep.exists()


@pytest.mark.parametrize("days", [0])
def test_a_retention_of_zero_days_deletes_all_that_is_there(tmp_path, days):
    a_file(tmp_path / "a", days_old=0.0001)
    assert clean(tmp_path, tmp_path, retention_days=days)["files"] == 1


def test_symbolic_links_are_neither_followed_nor_deleted(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    precious = a_file(outside / "precious", days_old=99)
    a_file(root / "a", days_old=99)
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(precious)
    for link in ("folder", "file"):
        os.utime(root / link, (0, 0), follow_symlinks=False)
    assert clean(root, root)["files"] == 1
    assert precious.exists()
    assert (root / "folder").is_symlink()
    assert (root / "file").is_symlink()


@pytest.mark.parametrize("inside", ["link", "link/deeper"])
def test_a_path_that_leads_through_a_symbolic_link_is_refused(tmp_path, inside):
    root, outside = tmp_path / "root", tmp_path / "outside"
    precious = a_file(outside / "deeper" / "precious", days_old=99)
    root.mkdir()
    (root / "link").symlink_to(outside)
    with pytest.raises(OutsideFilesRoots, match="symbolic link"):
        clean(root / inside, root)
    assert precious.exists()


def test_a_path_outside_the_roots_is_refused_by_the_executor_too(tmp_path):
    precious = a_file(tmp_path / "other" / "precious", days_old=99)
    with pytest.raises(OutsideFilesRoots):
        clean(tmp_path / "other", tmp_path / "root")
    with pytest.raises(OutsideFilesRoots):
        clean(tmp_path / "other")
    assert precious.exists()


def test_a_directory_swapped_for_a_link_during_the_walk_leads_nowhere(tmp_path, monkeypatch):
    root, outside = tmp_path / "root", tmp_path / "outside"
    precious = a_file(outside / "precious", days_old=99)
    a_file(root / "a" / "mine", days_old=99)
    really_stat, swapped = os.stat, []

    def stat_then_swap(path, *args, **kwargs):
        facts = really_stat(path, *args, **kwargs)
        if path == "a" and not swapped:  # between looking at the directory and opening it
            swapped.append((root / "a").rename(root / "b"))
            (root / "a").symlink_to(outside)
        return facts

    monkeypatch.setattr(os, "stat", stat_then_swap)
    monkeypatch.setitem(os.fwalk.__globals__, "stat", stat_then_swap)
    clean(root, root)
    assert swapped
    assert precious.exists()


def test_what_cant_be_deleted_is_listed_and_the_rest_goes_on(tmp_path, monkeypatch):
    for name in range(30):
        a_file(tmp_path / f"stuck{name}", days_old=9)
    a_file(tmp_path / "free", days_old=9, size=5)
    really_unlink = os.unlink

    def unlink(path, *args, **kwargs):
        if str(path).startswith("stuck"):
            raise PermissionError(1, "Operation not permitted", path)
        really_unlink(path, *args, **kwargs)

    monkeypatch.setattr(os, "unlink", unlink)
    result = clean(tmp_path, tmp_path)
    assert (result["files"], result["bytes"], len(result["errors"])) == (1, 5, 20)
    assert "Operation not permitted" in result["errors"][0]


def test_a_directory_that_isnt_there_fails_the_attempt(tmp_path):
    with pytest.raises(FileNotFoundError):
        clean(tmp_path / "nowhere", tmp_path)


# custom.


async def test_echo_answers_with_its_parameters():
    assert await custom.handle(a_run(operation="echo", parameters={"a": [1]}), resources()) == {"a": [1]}


async def test_sleep_sleeps():
    before = time.monotonic()
    assert await custom.handle(a_run(operation="sleep", parameters={"seconds": 0.05}), resources()) == {
        "slept_seconds": 0.05
    }
    assert time.monotonic() - before >= 0.05


async def test_fail_fails_as_often_as_it_is_told_then_succeeds():
    told = {
        "operation": "fail",
        "parameters": {"times": 2, "message": "no", "error_class": "ConnectionError"},
    }
    for attempt in (1, 2):
        with pytest.raises(ConnectionError, match="no"):
            await custom.handle(a_run(attempt=attempt, **told), resources())
    assert await custom.handle(a_run(attempt=3, **told), resources()) == {"failed_attempts": 2}


@pytest.mark.parametrize("name", ["Flaky", "KeyboardInterrupt", "print"])
async def test_fail_makes_an_exception_of_any_other_name(name):
    with pytest.raises(RuntimeError) as caught:
        await custom.handle(a_run(operation="fail", parameters={"error_class": name}), resources())
    assert type(caught.value).__name__ == name


# Results and exceptions.


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ({1: "x"}, {"1": "x"}),
        ("text", "text"),
        (10**30, 10**30),
    ],
)
def test_a_result_is_kept_as_plain_json(value, kept):
    assert returned(value) == Returned(result=kept)


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


def circular():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "JSON"),
        ({"a": {1, 2}}, "JSON"),
        (circular(), "JSON"),
        ("x" * 16_383, "16,385 bytes"),
        ("ä" * 10_000, "20,002 bytes"),
        (nested(101), "100 levels"),
        (nested(5_000), "100 levels"),
    ],
)
def test_a_result_that_cant_be_kept_fails_the_attempt_with_a_sentence(value, said):
    outcome = returned(value)
    assert isinstance(outcome, Raised)
    assert outcome.error.class_ == "BadResult"
    assert said in outcome.error.message


def test_a_result_at_the_limits_is_kept():
    assert returned("x" * 16_382) == Returned(result="x" * 16_382)
    assert returned(nested(100)) == Returned(result=nested(100))


def test_an_exception_is_named_with_its_bases_bare_and_dotted():
    outcome = raised(ConnectionResetError("gone"))
    assert (outcome.error.class_, outcome.error.message) == ("ConnectionResetError", "gone")
    assert {"ConnectionResetError", "builtins.OSError", "OSError", "Exception"} <= set(outcome.names)
    assert "object" not in outcome.names


def test_an_exception_that_cant_be_read_is_a_failure_all_the_same():
    class Nasty(Exception):  # noqa: N818
        def __str__(self):
            raise ValueError

    assert "could not be read" in raised(Nasty()).error.message


def test_a_long_message_is_cut():
    assert len(raised(ValueError("x" * 9_999)).error.message) == 2_000


# The pool. Functions travel by name: see blocking_calls.


@pytest.fixture
async def pool():
    made = Pool(processes=1, log_level="INFO", log_format="json")
    yield made
    await asyncio.to_thread(made.stop)
    made.close()


class Heard:
    """What a call has said, and how to make one."""

    def __init__(self, pool):
        self._pool = pool
        self.progress = []
        self.notebook = Notebook(self.progress.append)

    async def call(self, function, timeout_s=30, **job_data):
        return await self._pool.call(
            function, a_run(**job_data), self.notebook, timeout_s=timeout_s, context={}
        )

    @property
    def lines(self):
        """Without their times."""
        output = self.notebook.output()
        return [line.partition(" ")[2] for line in output.text.splitlines()] if output else []


@pytest.fixture
def heard(pool):
    return Heard(pool)


async def test_what_a_process_has_said_is_heard_however_late_it_is_read(pool, heard, monkeypatch):
    """Its outcome and its words come by different ways: a busy loop may be told of the outcome first."""
    serve, answered = pool._backchannel._serve, asyncio.Event()

    async def late(reader, writer):
        await answered.wait()
        await serve(reader, writer)

    monkeypatch.setattr(pool._backchannel, "_serve", late)
    came_back = pool._backchannel.came_back
    pool._backchannel.came_back = lambda call: (came_back(call), answered.set())
    assert await heard.call(blocking_calls.say) == Returned(result="said")
    assert "begun" in heard.lines


async def test_a_blocking_handler_leaves_the_loop_free(heard):
    call = asyncio.create_task(heard.call(blocking_calls.sleep, seconds=0.2))
    turns = 0
    while not call.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert await call == Returned(result=None)
    assert turns > 5


async def test_a_blocking_handler_that_takes_too_long_is_killed(heard):
    outcome = await heard.call(blocking_calls.sleep, timeout_s=0.2, seconds=3600)
    assert (outcome.error.class_, outcome.error.message) == ("TimeoutError", "timed out after 0.2 s")
    assert await heard.call(blocking_calls.give_back, n=4) == Returned(result={"n": 4})


async def test_a_cancelled_blocking_handler_is_killed(heard, tmp_path):
    program = (
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(3600)"
    )
    call = asyncio.create_task(heard.call(blocking_calls.carry_out, timeout_s=3600, program=program))
    pid = int(await wait_until(lambda: _read(tmp_path / "pid"), "the handler runs"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await wait_until(lambda: not _lives(pid), "its process is gone")


async def test_the_death_of_a_handlers_process_is_its_failure_only(heard):
    outcome = await heard.call(blocking_calls.die, status=3)
    assert outcome.error.class_ == "HandlerProcessDied"
    assert "3" in outcome.error.message
    assert await heard.call(blocking_calls.give_back, n=4) == Returned(result={"n": 4})


async def test_sys_exit_and_odd_exceptions_of_a_blocking_handler_are_failures(heard):
    outcome = await heard.call(blocking_calls.leave, status=3)
    assert outcome.error.class_ == "SystemExit"
    program = "class Odd(Exception):\n def __init__(self, a, b): super().__init__('odd')\nraise Odd(1, 2)"
    outcome = await heard.call(blocking_calls.carry_out, program=program)
    assert (outcome.error.class_, outcome.error.message) == ("Odd", "odd")
    assert await heard.call(blocking_calls.give_back, n=4) == Returned(result={"n": 4})


async def test_what_a_blocking_handler_says_is_heard_before_its_end(heard):
    for _ in range(20):
        assert await heard.call(blocking_calls.say) == Returned(result="said")
    said = ["begun", "WARNING their.library: careful, now", "from a thread"]
    assert heard.lines == said * 20
    assert heard.progress == ['{"ratio": 0.5, "message": "half"}'] * 20


async def test_what_a_killed_handler_had_said_is_kept(heard):
    outcome = await heard.call(blocking_calls.say_and_sleep, timeout_s=1.0)
    assert outcome.error.class_ == "TimeoutError"
    assert (heard.lines, len(heard.progress)) == (["begun"], 1)


async def test_a_blocking_handler_asks_for_another_time_or_gives_up(heard):
    asks = await heard.call(blocking_calls.carry_out, program="run.retry_in(7, 'busy')")
    assert (asks.retry_in_s, asks.give_up, asks.error.message) == (7.0, False, "busy")
    gives_up = await heard.call(blocking_calls.carry_out, program="run.give_up('no such customer')")
    assert (gives_up.retry_in_s, gives_up.give_up, gives_up.error.class_) == (None, True, "GiveUp")


PARENT = """
import asyncio, sys
from tests.integration import blocking_calls
from services.executor.notebook import Notebook
from services.executor.pool import Pool
from shared.testing import a_told_run as a_run

PROGRAM = f"import os, time; open({sys.argv[1]!r}, 'w').write(str(os.getpid())); time.sleep(3600)"

async def main():
    pool = Pool(processes=1, log_level="INFO", log_format="json")
    run = a_run(program=PROGRAM)
    await pool.call(blocking_calls.carry_out, run, Notebook(print), timeout_s=3600, context={})

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_processes_die_with_an_executor_that_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    root = Path(__file__).parents[2]
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "pid")]
    parent = subprocess.Popen(command, env={"PYTHONPATH": str(root)})
    try:
        pid = int(asyncio.run(wait_until(lambda: _read(tmp_path / "pid"), "the handler runs")))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    asyncio.run(wait_until(lambda: not _lives(pid), "its process is gone"))


def test_what_a_handler_is_told_cant_be_changed_but_its_data_is_its_own():
    run = a_run(operation="echo")
    with pytest.raises(AttributeError):
        run.attempt = 2
    assert replace(run, attempt=2).attempt == 2


def _read(path):
    return path.exists() and path.read_text()


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_an_executor_without_the_packages_of_a_type_says_what_would_install_them(monkeypatch):
    needy = replace(BUILT_IN["custom"], extra="data", needs=("no_such_module",))
    monkeypatch.setitem(BUILT_IN, "custom", needy)
    with pytest.raises(NotInstalled, match=r"custom needs `pip install daybook\[data\]`"):
        call_ours("custom", resources(), a_run(operation="echo"))


async def test_a_handler_of_ours_is_imported_when_it_is_called_and_given_its_resources():
    handler = handlers(Known(), resources())["custom"]
    assert await handler.call(a_run(operation="echo", parameters={"a": 1})) == {"a": 1}
