"""Redis is wiped, set back and forked under load: the services heal it, and nothing acknowledged is lost."""

import asyncio
import os
import random
import shutil
import time

import pytest
from redis.asyncio import Redis

from shared.embedded import Valkey
from shared.eventlog.keys import Keys
from shared.testing import wait_until

from . import book
from .balance import audit
from .load import FOREVER_S, Clients
from .system import System

JOBS, WRITERS = 40, 4
FORGED = 3  # events a partition that the fork has of its own
HEALED_S = 20.0
ON_S = 0.7  # how long clients write between two faults
pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(180)]
HEALS = "select count(*) from book.events where type = 'LogOpened' and data like '%\"reason\":\"heal\"%'"


@pytest.fixture
def system(tmp_path):
    made = System(tmp_path, environment={"DAYBOOK_LEASE_SECONDS": "3"})
    try:
        yield made.start()
    finally:
        made.destroy()


async def test_the_books_balance_after_redis_was_wiped_set_back_and_forked(system, tmp_path):
    seed = int(os.environ.get("DAYBOOK_TEST_SEED", time.time_ns() % 1_000_000))
    took = {}
    async with system.client() as http:
        clients = Clients(http, random.Random(seed))
        for _ in range(JOBS):
            await clients.insist(clients.create)
        napping = await _nap(http)
        stop = asyncio.Event()
        writers = [asyncio.create_task(clients.write_until(stop)) for _ in range(WRITERS)]
        kept = _crash_and_keep(system, tmp_path)
        forked = await _forked(system, kept, tmp_path)
        faults = {
            "wiped": lambda: _wipe(system),
            "set back": lambda: _replace(system, kept),
            "forked": lambda: _replace(system, forked),
        }
        for healed, (name, fault) in enumerate(faults.items(), 1):
            await _busy(clients)
            await fault()
            took[name] = await _recovered(system, clients, healed)
        stop.set()
        await asyncio.gather(*writers)
        written = await book.tails(system)
        await wait_until(lambda: book.has_archived(system, written), "all is archived", timeout_s=HEALED_S)
        await _calm(clients)
        ended = await _ended(http, napping)
    await wait_until(lambda: book.is_at_rest(system), "all is at rest", timeout_s=60, every_s=0.2)

    found = await book.read(system)
    sure = [ack for ack in clients.acks if ack.status != 202]
    balance = audit(found, sure)
    print(f"\nseed {seed}; {len(found.events)} events; healed within (s): {took}")
    print(
        f"{len(sure)} requests acknowledged, {len(clients.acks) - len(sure)} taken, {clients.unanswered} not"
    )
    print(balance.told())
    assert not balance.wrong, f"seed {seed}\n" + "\n".join(balance.wrong)
    assert (ended["status"], len(ended["attempts"])) == ("succeeded", 1), "its worker lived through it all"
    aside = await book._asked(system, "select partition, count(*) from book.quarantine group by 1 order by 1")
    assert aside == [(partition, FORGED) for partition in range(system.partitions)]
    system.stop()


async def _nap(http):
    """A run that is in its handler through all faults; return its id once its start is archived."""
    nap = {"operation": "sleep", "parameters": {"seconds": 12}}
    body = {"name": "nap", "job_type": "custom", "job_data": nap}
    job = (await http.post("/api/v1/jobs", json=body)).json()
    run = (await http.post(f"/api/v1/jobs/{job['id']}/trigger")).json()

    async def started():
        return (await http.get(f"/api/v1/executions/{run['id']}")).json().get("status") == "running"

    await wait_until(started, "it naps")
    return run["id"]


async def _ended(http, run_id):
    async def seen():
        run = (await http.get(f"/api/v1/executions/{run_id}")).json()
        return run if run["finished_at"] else None

    return await wait_until(seen, "the nap is over", timeout_s=30, every_s=0.1)


def _crash_and_keep(system, directory):
    """kill -9, keep a copy of its file, and start again; return the copy."""
    system.valkey.kill()
    kept = directory / "kept"
    shutil.copytree(system.valkey.directory / "appendonlydir", kept)
    system.valkey.start()
    return kept


async def _forked(system, kept, directory):
    """What another server makes of the copy: some events more in each log, which nobody here has seen."""
    with Valkey(directory / "elsewhere") as elsewhere:
        elsewhere.kill()
        shutil.rmtree(elsewhere.directory / "appendonlydir")
        shutil.copytree(kept, elsewhere.directory / "appendonlydir")
        elsewhere.start()
        redis = Redis.from_url(elsewhere.endpoint.url)
        for partition in range(system.partitions):
            log = Keys(system.prefix, partition).log
            ((tail, fields),) = await redis.xrevrange(log, count=1)
            epoch, pos = tail.decode().split("-")
            for number in range(1, FORGED + 1):
                forged = fields | {b"id": b"forged-%d" % number}
                await redis.xadd(log, forged, id=f"{epoch}-{int(pos) + number}")
        await redis.aclose()
        elsewhere.kill()
        forked = directory / "forked"
        shutil.copytree(elsewhere.directory / "appendonlydir", forked)
    return forked


async def _busy(clients):
    """Let clients write for a while, and each partition get events that the copies haven't got."""
    acknowledged = len(clients.acks)
    await asyncio.sleep(
        ON_S
    )  # what is written meanwhile is what a fault may lose: no condition says how much
    await wait_until(
        lambda: len(clients.acks) >= acknowledged + 20, "clients are answered", timeout_s=HEALED_S
    )


async def _wipe(system):
    redis = Redis.from_url(system.valkey.endpoint.url)
    await redis.flushall()
    await redis.aclose()


async def _replace(system, file):
    """kill -9, and start again over another file."""
    system.valkey.kill()
    shutil.rmtree(system.valkey.directory / "appendonlydir")
    shutil.copytree(file, system.valkey.directory / "appendonlydir")
    system.valkey.start()


async def _recovered(system, clients, healed):
    """Wait until every partition has been healed so often, and clients are answered again; return the seconds."""
    began_at, acknowledged = time.monotonic(), len([ack for ack in clients.acks if ack.status != 202])

    async def is_well():
        ((heals,),) = await book._asked(system, HEALS)
        sure = len([ack for ack in clients.acks if ack.status != 202])
        return heals >= healed * system.partitions and sure >= acknowledged + 5 and system.is_healthy()

    await wait_until(is_well, f"healed {healed} times", timeout_s=HEALED_S, every_s=0.05)
    return round(time.monotonic() - began_at, 2)


async def _calm(clients):
    """Pause half of the jobs, and leave the others an interval of a day."""
    known = list(clients.bodies)
    for job_id in known[::2]:
        await clients.insist(clients.pause, job_id)
    for job_id in known[1::2]:
        await clients.insist(clients.update, job_id, interval_seconds=FOREVER_S)
    for job_id in set(await clients.find_all()) - set(known):
        await clients.insist(clients.delete, job_id)
