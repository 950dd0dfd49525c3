"""The same code on a Redis Cluster: masters are killed under load, and nothing acknowledged is lost."""

import asyncio
import os
import random
import signal
import time
from functools import partial

import pytest

from shared.domain import ids
from shared.eventlog.keys import Keys
from shared.settings import CLUSTER_PARTITIONS
from shared.testing import wait_until
from tests.cluster_kit import RedisCluster

from . import book
from .balance import audit
from .load import Clients
from .system import ROLES, System

JOBS, WRITERS = 120, 4
MISSED = 5  # partitions with acknowledged writes that a replica doesn't get
PREFIX = "acceptance"
COMMAND_S = 180.0  # 64 partitions, on a busy machine
ON_S = 1.0  # how long clients write between two faults
TAKEN_OVER_S = 120.0  # 1.5 s of silence, an election, and 22 logs to be opened, by busy processors
HEALS = "select count(*) from book.events where type = 'LogOpened' and data like '%\"reason\":\"heal\"%'"
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("heavy"), pytest.mark.timeout(900)]


@pytest.fixture
def system(tmp_path):
    made = System(
        tmp_path,
        replicas=dict.fromkeys(ROLES, 1) | {"timer": 2, "projector": 2},
        environment={"DAYBOOK_LEASE_SECONDS": "5"},
        redis=RedisCluster(tmp_path / "cluster", masters=3, replicas=3),
    )
    made.ready_s = TAKEN_OVER_S
    made.partitions = CLUSTER_PARTITIONS  # not told, so this proves the default
    try:
        yield made.start()
    finally:
        made.destroy()


async def test_nothing_acknowledged_is_lost_when_masters_of_a_cluster_are_killed_under_load(system):
    seed = int(os.environ.get("DAYBOOK_TEST_SEED", time.time_ns() % 1_000_000))
    took = {}
    async with system.client(timeout_s=60) as http:
        clients = Clients(http, random.Random(seed))
        await asyncio.gather(*(_create(clients, JOBS // 6) for _ in range(6)))
        stop = asyncio.Event()
        writers = [asyncio.create_task(clients.write_until(stop)) for _ in range(WRITERS)]
        faults = {
            "killed": _kill,
            "killed, its replica behind": _kill_ahead_of_its_replica,
            "handed over": _hand_over,
        }
        for name, fault in faults.items():
            await asyncio.sleep(ON_S)  # what is written meanwhile is what a fault may lose
            began = time.monotonic()
            for gone in await fault(system, clients):
                gone.start()
            await _answered_everywhere(system, clients)
            took[name] = round(time.monotonic() - began, 1)
        stop.set()
        await asyncio.gather(*writers)
        await asyncio.to_thread(system.valkey.wait_whole)
        written = await book.tails(system)
        await wait_until(lambda: book.has_archived(system, written), "all is archived", timeout_s=60)
        lost = _of("create", clients) - _of("delete", clients) - set(await clients.find_all())
        await clients.calm()
    await wait_until(lambda: book.is_at_rest(system), "all is at rest", timeout_s=90, every_s=0.3)

    found = await book.read(system)
    sure = [ack for ack in clients.acks if ack.status != 202]
    balance = audit(found, sure)
    ((heals,),) = await book._asked(system, HEALS)
    print(
        f"\nseed {seed}; {len(found.events)} events; clients answered again after (s): {took}; {heals} heals"
    )
    print(
        f"{len(sure)} requests acknowledged, {len(clients.acks) - len(sure)} taken, {clients.unanswered} not"
    )
    print(balance.told())
    assert not balance.wrong, f"seed {seed}\n" + "\n".join(balance.wrong)
    assert not lost
    assert heals > 0, "a replica that was behind had to be healed"
    ran = {event.partition for event in found.events if event.type == "RunSucceeded"}
    assert len(ran) > CLUSTER_PARTITIONS // 2, "jobs, and so runs, are everywhere"
    for words in (
        ["audit", "verify"],
        ["recover", "--dry-run"],
        ["keys", "create", "--name", "k", "--role", "admin", "--owner", "ann"],
    ):
        done = system.command(*words, timeout_s=COMMAND_S)
        assert done.returncode == 0, f"seed {seed}\n{done.stdout}{done.stderr}"
    system.stop()


async def _create(clients, count):
    for _ in range(count):
        await clients.insist(clients.create)


def _of(what, clients):
    """The jobs about which this was acknowledged."""
    return {ack.job_id for ack in clients.acks if ack.what == what}


async def _kill(system, clients):
    """kill -9 a master; it comes back as a replica of the one that has taken its place."""
    master = system.valkey.master_of(_key(0))
    master.kill()
    await _taken_over(system, 0, master)
    return [master]


async def _kill_ahead_of_its_replica(system, clients):
    """kill -9 a master after its replica has missed what clients were told is done."""
    master = system.valkey.master_of(_key(1))
    replica = system.valkey.replica_of(master)
    os.kill(replica.endpoint.pid, signal.SIGSTOP)
    try:
        master.ask("CLIENT", "KILL", "TYPE", "REPLICA")  # what it has in its buffers it has still got
        missed, theirs = len(clients.acks), _served_by(system, master)
        await wait_until(
            lambda: len(_partitions(clients.acks[missed:]) & theirs) >= MISSED,
            "clients were answered what the replica doesn't know",
            timeout_s=TAKEN_OVER_S,
        )
        master.kill()
    finally:
        os.kill(replica.endpoint.pid, signal.SIGCONT)
    await _taken_over(system, 1, master)
    return [master]


async def _hand_over(system, clients):
    """A replica takes over from a master that lives, as when servers are upgraded one by one."""
    master = system.valkey.master_of(_key(2))
    system.valkey.replica_of(master).ask("CLUSTER", "FAILOVER")
    await _taken_over(system, 2, master)
    return []


def _key(partition):
    return Keys(PREFIX, partition).meta


def _served_by(system, master):
    """The partitions that lie on `master`."""
    return {each for each in range(CLUSTER_PARTITIONS) if system.valkey.master_of(_key(each)) is master}


def _partitions(acks):
    """Those about which the archive has acknowledged something."""
    return {ids.partition_of(ack.job_id) for ack in acks if ack.status != 202}


async def _taken_over(system, partition, master):
    """Return when all know that another serves what `master` had: one that comes back sooner is master again."""

    def is_over():
        return system.valkey.is_whole() and system.valkey.master_of(_key(partition)) is not master

    await wait_until(
        partial(asyncio.to_thread, is_over), "another is master", timeout_s=TAKEN_OVER_S, every_s=0.1
    )


async def _answered_everywhere(system, clients):
    """Return when clients were answered about partitions of each master, after the fault."""
    began = time.time()

    def is_answered():
        answered = _partitions(ack for ack in clients.acks if ack.began >= began)
        theirs = [_served_by(system, master) for master in system.valkey.masters()]
        return all(answered & each for each in theirs) and system.is_healthy()

    await wait_until(
        partial(asyncio.to_thread, is_answered),
        "clients are answered everywhere",
        timeout_s=TAKEN_OVER_S,
        every_s=0.3,
    )
