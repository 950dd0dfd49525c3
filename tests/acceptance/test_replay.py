"""`daybook replay` under load: killed, called again, swapped, while clients write and all services are at work."""

import asyncio
import os
import random
import signal
import subprocess
import time

import asyncpg
import pytest

from shared.testing import wait_until

from . import book
from .balance import audit
from .load import Clients
from .system import System, _daybook

JOBS, WRITERS = 20, 3
LEDGERS = "select count(*) from pg_namespace where nspname in ('ledger_next', 'ledger_before', 'replay')"
READ = "select coalesce(sum(pos), 0) from replay.partitions"
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("heavy"), pytest.mark.timeout(400)]


@pytest.fixture
def system(tmp_path):
    made = System(tmp_path, replicas={"projector": 2, "api": 2})
    try:
        yield made.start()
    finally:
        made.destroy()


async def test_ledgers_are_replaced_under_load_by_a_replay_that_was_killed(system):
    seed = int(os.environ.get("DAYBOOK_TEST_SEED", time.time_ns() % 1_000_000))
    pool = await asyncpg.create_pool(system.postgres.endpoint.url, min_size=1, max_size=2)
    async with system.client() as http, pool:
        clients = Clients(http, random.Random(seed))
        for _ in range(JOBS):
            await clients.insist(clients.create)
        spoiled = await clients.insist(clients.create)
        await clients.insist(clients.pause, spoiled)
        del clients.bodies[spoiled]  # nothing else happens to it, or the projector would have it right again
        stop = asyncio.Event()
        writers = [asyncio.create_task(clients.write_until(stop)) for _ in range(WRITERS)]
        readers = [asyncio.create_task(_read_until(http, stop))]
        await wait_until(lambda: len(clients.acks) > 150, "clients have written", timeout_s=60)
        await _spoil(pool, spoiled)
        for what, condition in (("begun", LEDGERS), ("read", READ)):
            await _killed(system, pool, condition, what)
        told = await asyncio.to_thread(system.command, "replay", "--dry-run")
        assert told.returncode == 1, told.stdout + told.stderr
        assert 'description is "spoiled"' in told.stdout, told.stdout
        before = len(clients.acks)
        both = await asyncio.gather(*(asyncio.to_thread(system.command, "replay") for _ in range(2)))
        done = sorted(both, key=lambda each: each.returncode)
        assert done[0].returncode == 0, done[0].stderr
        assert "the ledgers made anew are live" in done[0].stdout, done[0].stdout
        # the other was refused, or came late enough to make them once more
        assert done[1].returncode == 0 or "Another replay is under way" in done[1].stderr, done[1].stderr
        assert await pool.fetchval("select min(ledgers) from book.checkpoints") >= 1
        await wait_until(lambda: len(clients.acks) > before + 40, "clients go on", timeout_s=60)
        told = await asyncio.to_thread(system.command, "replay", "--dry-run")
        assert told.returncode == 0, told.stdout
        stop.set()
        await asyncio.gather(*writers, *readers)
        assert clients.unanswered == 0, "nobody was turned away by the swap"
        await clients.calm()
    await wait_until(lambda: book.is_at_rest(system), "all is at rest", timeout_s=60, every_s=0.2)
    found = await book.read(system)
    balance = audit(found, [ack for ack in clients.acks if ack.status != 202])
    assert not balance.wrong, f"seed {seed}\n{balance.told()}\n" + "\n".join(balance.wrong)
    status, said = await asyncio.to_thread(system.audit)
    assert status == 0, said
    system.stop()


async def _spoil(pool, job_id):
    """What a fault of a projection could have left: a job that is another, and runs that are gone."""
    await pool.execute(
        "update ledger.jobs set description = 'spoiled', active_runs = 99 where id = $1", job_id
    )
    await pool.execute("delete from ledger.runs where id in (select id from ledger.runs order by id limit 5)")


async def _read_until(http, stop):
    """Lists and statistics are answered all the while."""
    while not stop.is_set():
        for path in ("jobs?per_page=50", "executions?status=succeeded", "stats/errors"):
            answer = await http.get(f"/api/v1/{path}")
            assert answer.status_code == 200, answer.text
        await asyncio.sleep(0)


async def _killed(system, pool, condition, what):
    """Start a replay, and kill -9 it as soon as the condition holds; its workers end with it."""
    process = await asyncio.create_subprocess_exec(
        *_daybook(), "replay", env=system._environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    async def holds():
        assert process.returncode is None, f"it was to be killed when it had {what}"
        try:
            return await pool.fetchval(condition) > 0
        except asyncpg.UndefinedTableError:
            return False

    try:
        await wait_until(holds, f"the replay has {what}", timeout_s=30, every_s=0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
