"""`daybook audit verify` as a command: what it prints, its status, and where it finds the servers."""

import asyncio
import itertools
import json
import os
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from services.projector.audit import Invariant
from shared.embedded import DataDir, Endpoints
from tests.integration.audit_kit import a_copy, an_original

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("audit command")]
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def original(postgres, valkey):
    async with an_original(postgres, valkey) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def copy(original):
    async with a_copy(original, next(_numbers)) as made:
        yield made


async def _daybook(*args, **environment):
    """Status, output and errors of `daybook audit verify`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", "audit", "verify", *args,
        cwd=Path(__file__).parents[2], env=ours | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


@pytest_asyncio.fixture(loop_scope="module")
async def servers(copy, valkey, postgres):
    """The addresses of the copy's servers, as the environment tells them."""
    name = await copy.pool.fetchval("select current_database()")
    database = postgres.endpoint.url.rsplit("/", 1)[0] + "/" + name
    return {"DAYBOOK_REDIS_URL": valkey.endpoint.url, "DAYBOOK_DATABASE_URL": database}


async def test_the_command_prints_a_line_for_each_invariant(servers):
    status, out, err = await _daybook(**servers)
    assert (status, err) == (0, "")
    *lines, last = out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"ok    {each}" for each in Invariant]
    assert last.endswith("events of partitions 0, 1: holds")


async def test_a_violation_is_status_1_and_shown(copy, servers):
    await copy.redis.zrem(copy.keys.due, copy.ref("job", "regular"))
    status, out, _ = await _daybook(**servers)
    (wrong,) = [line for line in out.splitlines() if not line.startswith("ok ")][:-1]
    assert status == 1
    assert wrong.startswith(f"WRONG {Invariant.STANDING}: ")
    assert f"1 violations; the first: due hasn't {copy.ref('job', 'regular')}" in wrong
    assert out.splitlines()[-1].endswith("of partitions 0, 1: 1 violations")


async def test_machines_are_told_in_json(copy, servers):
    await copy.sql("update ledger.run_hourly set started = started + 1 where partition = 0")
    status, out, _ = await _daybook("--json", **servers)
    told = json.loads(out)
    assert (status, told["holds"], told["partitions"]) == (1, False, [0, 1])
    assert [line["name"] for line in told["lines"]] == [each.name.lower() for each in Invariant]
    (wrong,) = [line for line in told["lines"] if line["violations"]]
    assert wrong["name"] == "hours"
    assert wrong["violations"] == told["violations"] > 0
    assert "started should be" in wrong["first"]
    status, out, _ = await _daybook("--json", "--partition", "1", **servers)
    assert (status, json.loads(out)["partitions"]) == (0, [1])


async def test_the_servers_of_a_running_system_are_found(servers, tmp_path):
    DataDir(tmp_path).write_endpoints(
        Endpoints(pid=1, api="", redis=servers["DAYBOOK_REDIS_URL"], postgres=servers["DAYBOOK_DATABASE_URL"])
    )
    status, out, err = await _daybook(DAYBOOK_DATA_DIR=str(tmp_path))
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].endswith("holds")


async def test_what_cannot_be_read_is_status_2_and_a_sentence(copy, servers, postgres, tmp_path):
    nowhere = {"DAYBOOK_REDIS_URL": "redis://127.0.0.1:1/0"}
    empty = {"DAYBOOK_DATABASE_URL": postgres.endpoint.url}
    for args, environment, sentence in [
        ((), {"DAYBOOK_DATA_DIR": str(tmp_path)}, "Nothing runs over"),
        ((), servers | nowhere, "could not be read"),
        ((), servers | empty, "has no deployment yet"),
        (("--partition", "7"), servers, "no partition 7"),
        ((), servers | {"DAYBOOK_PORT": "many"}, "DAYBOOK_PORT=many is refused"),
    ]:
        status, out, err = await _daybook(*args, **environment)
        assert (status, out) == (2, ""), err
        assert sentence in err
        assert "Traceback" not in err
    await copy.redis.delete(copy.keys.log)
    status, out, err = await _daybook(**servers)
    assert (status, out) == (2, ""), err
    assert "Redis holds no log of partition 0" in err
