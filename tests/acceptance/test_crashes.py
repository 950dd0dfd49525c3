"""Kill any service at any moment: nothing acknowledged is lost, nothing runs twice, nothing is left undecided."""

import asyncio
import os
import random
import time
from collections import Counter

import pytest

from shared.testing import wait_until

from . import book
from .balance import audit
from .load import Clients
from .system import ROLES, System

JOBS = 300
WRITERS = 4
APART_S = (0.2, 1.3)  # between two kills; a service takes about that long to come back
QUIET_S = 60.0
LIMIT_S = 300  # a minute on two idle cores; on busy ones the waits above end it first
pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(LIMIT_S)]

ONE = dict.fromkeys(ROLES, 1)
TWO = dict.fromkeys(ROLES, 2)


@pytest.fixture
def system(request, tmp_path):
    made = System(tmp_path, replicas=request.param, environment={"DAYBOOK_LEASE_SECONDS": "2"})
    try:
        yield made.start()
    finally:
        made.destroy()


@pytest.mark.parametrize(
    ("system", "kills"),
    [
        pytest.param(ONE, 2, id="one of each, twice"),
        pytest.param(ONE, 5, id="one of each, five times", marks=pytest.mark.long),
        pytest.param(TWO, 5, id="two of each, five times", marks=pytest.mark.long),
    ],
    indirect=["system"],
)
async def test_the_books_balance_after_every_service_was_killed(system, kills):
    seed = int(os.environ.get("DAYBOOK_TEST_SEED", time.time_ns() % 1_000_000))
    rng = random.Random(seed)
    async with system.client() as http:
        clients = Clients(http, rng)
        await asyncio.gather(*(_create(clients, JOBS // 10) for _ in range(10)))
        killed = await _kill_while_writing(system, clients, rng, kills)
        written = await book.tails(system)
        await wait_until(lambda: book.has_archived(system, written), "all jobs are listed", timeout_s=QUIET_S)
        await clients.calm()
    await wait_until(lambda: book.is_at_rest(system), "all is at rest", timeout_s=QUIET_S, every_s=0.2)

    found = await book.read(system)
    balance = audit(found, clients.acks)
    later = sum(ack.status == 202 for ack in clients.acks)
    print(f"\nseed {seed}; killed: {dict(killed)}; {len(found.events)} events")
    early = f"{later} of them before the archive had them"
    print(f"{len(clients.acks)} requests acknowledged, {early}; {clients.unanswered} not")
    print(balance.told())
    assert killed == dict.fromkeys(ROLES, kills)
    assert not balance.wrong, f"seed {seed}\n" + "\n".join(balance.wrong)
    status, told = system.audit()
    assert status == 0, f"seed {seed}\n{told}"
    system.stop()


async def _create(clients, count):
    for _ in range(count):
        await clients.insist(clients.create)


async def _kill_while_writing(system, clients, rng, kills):
    """Kill each role so many times, in a random order, at random moments; a service only once it is up again."""
    stop = asyncio.Event()
    writers = [asyncio.create_task(clients.write_until(stop)) for _ in range(WRITERS)]
    killed = Counter()
    for role in rng.sample(ROLES * kills, len(ROLES) * kills):
        service = rng.choice(system.of(role))
        await wait_until(service.is_up, f"{service.name} is up again", timeout_s=30, every_s=0.05)
        await asyncio.sleep(rng.uniform(*APART_S))  # the moment of a crash is nobody's condition
        system.kill(service.name)
        killed[role] += 1
    for service in system.services.values():
        await wait_until(service.is_up, f"{service.name} is up again", timeout_s=30, every_s=0.05)
    stop.set()
    await asyncio.gather(*writers)
    return killed
