"""On a Redis Cluster every command finds its server, also while slots and masters change places."""

import asyncio
import itertools
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from redis.exceptions import ClusterDownError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from services.executor.claims import Claims
from services.executor.heartbeat import Heartbeat
from shared import deployment
from shared.clock import SystemClock
from shared.domain import ids
from shared.domain.commands import CreateJob, StartRun, TriggerJob
from shared.embedded.processes import free_port
from shared.eventlog import topology
from shared.eventlog.cluster import server_of, serving
from shared.eventlog.cluster_wire import wire_to
from shared.eventlog.connection import connect
from shared.eventlog.snapshot import NOTHING
from shared.eventlog.topology import slot_of
from shared.faults import Fatal
from shared.lease import Share
from shared.redis_url import Address
from shared.testing import TESTER, Bench, a_job_id, a_spec, chance, wait_until
from tests.cluster_kit import RedisCluster

PARTITIONS = 6
APART = (0, 1, 3)  # one on each master


@pytest.fixture(scope="module")
def cluster(servers_directory):
    with RedisCluster(servers_directory / "cluster", masters=3, replicas=1) as made:
        yield made


@pytest.fixture
async def bench(cluster):
    made = await Bench.on(cluster.endpoint.url, partitions=PARTITIONS)
    yield made
    await made.close()


@pytest.fixture
def wire(bench):
    made = wire_to(bench.redis)
    yield made
    made.close()


async def created(bench, partition):
    """The id of a job that was just made there."""
    job_id = a_job_id(partition, bench.log.now())
    command = CreateJob(job_id=job_id, spec=a_spec(), owner="ann", tenant="t")
    await bench.decider.decide(f"job:{job_id}", command, TESTER, held=NOTHING)
    return job_id


async def triggered(bench, partition):
    """The id of a run that waits there."""
    job_id = await created(bench, partition)
    run_id = ids.chance_id(bench.log.now(), partition, chance())
    await bench.decider.decide(f"job:{job_id}", TriggerJob(run_id=run_id, correlation_id="c"), TESTER)
    return run_id


def misled(known, key, address=None):
    """Have a topology believe that another serves `key`: a node, or nobody if none is given."""
    known._masters[slot_of(key)] = address or Address("127.0.0.1", free_port())


@asynccontextmanager
async def closing(url):
    client = connect(url)
    yield client
    await client.aclose()


def another(bench, key):
    """A master that doesn't serve `key`."""
    known = bench.redis.topology
    return next(each for each in known._masters.values() if each != known.known(key))


async def test_partitions_are_on_all_masters_and_each_is_written_to_where_it_is(bench, cluster):
    for partition in range(PARTITIONS):
        job_id = await created(bench, partition)
        key = bench.log.keys(partition).aggregate(f"job:{job_id}")
        assert cluster.master_of(key).ask("EXISTS", key) == 1
    assert {cluster.master_of(bench.log.keys(each).log) for each in APART} == {*cluster.masters()}


async def test_a_command_whose_key_has_moved_is_carried_out_once(bench, wire):
    known, key = bench.redis.topology, bench.log.keys(0).used("a key")
    elsewhere = another(bench, key)
    misled(known, key, elsewhere)
    assert await bench.redis.incr(key) == 1
    misled(known, key, elsewhere)
    async with bench.redis.pipeline(transaction=True) as pipe:
        assert await pipe.incr(key).incr(key).execute() == [2, 3]
    misled(known, key, elsewhere)
    async with bench.redis.pipeline(transaction=False) as pipe:
        assert await pipe.incr(key).incr(key).execute() == [4, 5]
    misled(known, key, elsewhere)
    assert await wire.replies(("INCR", key), ("INCR", key)) == [6, 7]


async def test_what_is_about_one_slot_stays_together_while_the_map_changes(bench, wire, monkeypatch):
    """As in a failover: from one look at the map to the next another has the slot."""
    known, key = bench.redis.topology, bench.log.keys(0).used("together")
    turns = itertools.cycle([another(bench, key), await known.master(key)])

    async def turning():
        known._masters[slot_of(key)] = next(turns)

    monkeypatch.setattr(known, "_look", turning)
    async with bench.redis.pipeline(transaction=True) as pipe:
        assert await pipe.incr(key).incr(key).execute() == [1, 2]
    async with bench.redis.pipeline(transaction=False) as pipe:
        assert await pipe.incr(key).incr(key).execute() == [3, 4]
    assert await wire.replies(("INCR", key), ("INCR", key)) == [5, 6]


async def test_replies_from_several_servers_are_in_the_order_that_was_asked_in(bench, wire):
    names = [bench.log.keys(each).used("a") for each in range(PARTITIONS)]
    async with bench.redis.pipeline(transaction=False) as pipe:
        for number, name in enumerate(names):
            pipe.set(name, number)
            pipe.get(name)
        assert await pipe.execute() == [each for n in range(PARTITIONS) for each in (True, b"%d" % n)]
    assert await wire.replies(*[("GET", name) for name in names]) == [b"%d" % n for n in range(PARTITIONS)]


async def test_questions_about_a_server_are_answered_by_that_of_the_keys_beside_them(bench, cluster, wire):
    for partition in APART:
        key = bench.log.keys(partition).meta
        expected = cluster.master_of(key).info("replication")["master_replid"]
        async with bench.redis.pipeline(transaction=True) as pipe:
            told, _ = await pipe.info("replication").exists(key).execute()
        assert told["master_replid"] == expected
        (text, _) = await wire.replies(("INFO", "replication"), ("EXISTS", key))
        assert expected.encode() in text
        assert (await (await serving(bench.redis, key)).info("replication"))["master_replid"] == expected


async def test_what_names_no_server_is_refused_rather_than_asked_anywhere(bench):
    with pytest.raises(ValueError, match="TIME names no key"):
        await bench.redis.time()
    async with bench.redis.pipeline(transaction=True) as pipe:
        pipe.get(bench.log.keys(0).meta).get(bench.log.keys(1).meta)
        with pytest.raises(ValueError, match="keys of one slot"):
            await pipe.execute()


async def test_a_server_that_is_away_fails_its_own_commands_only(bench, wire, monkeypatch):
    monkeypatch.setattr(topology, "ASK_EVERY_S", 0)
    names = [bench.log.keys(each).used("b") for each in APART]
    await wire.replies(*[("SET", name, name) for name in names])
    misled(bench.redis.topology, names[1])
    first, lost, last = await wire.call(*[("GET", name) for name in names])
    assert (first, last) == (names[0].encode(), names[2].encode())
    assert isinstance(lost, RedisConnectionError)
    assert await wire.replies(("GET", names[1])) == [names[1].encode()], "the next one asks who it is by now"
    del bench.redis.topology._masters[slot_of(names[1])]
    first, unserved, last = await wire.call(*[("GET", name) for name in names])
    assert (first, last) == (names[0].encode(), names[2].encode())
    assert isinstance(unserved, ClusterDownError)
    assert await wire.replies(("GET", names[1])) == [names[1].encode()]
    misled(bench.redis.topology, names[1])
    with pytest.raises(RedisConnectionError):
        await wire.call(("GET", names[1]))


async def test_claims_of_one_server_are_not_lost_because_another_is_away_or_knows_no_script(
    bench, cluster, monkeypatch
):
    monkeypatch.setattr(topology, "ASK_EVERY_S", 0)
    claims = Claims(bench.log, queues=("default",), consumer="c")
    await triggered(bench, 0)
    assert len(await claims.take_from(APART, 10)) == 1  # all know the script now
    runs = [await triggered(bench, partition) for partition in APART]
    cluster.master_of(bench.log.keys(0).log).ask("SCRIPT", "FLUSH")  # as a promoted replica: it knows none
    assert {claim.run for claim in await claims.take_from(APART, 10)} == {*runs}
    runs = [await triggered(bench, partition) for partition in APART]
    misled(bench.redis.topology, bench.log.keys(1).log)
    assert {claim.run for claim in await claims.take_from(APART, 10)} == {runs[0], runs[2]}
    assert {claim.run for claim in await claims.take_from(APART, 10)} == {runs[1]}


async def test_leases_of_runs_are_extended_where_they_can_be(bench, cluster):
    beats = Heartbeat(cluster.endpoint.url, bench.log, lease=timedelta(seconds=60), on_found=print)
    refs = {}
    for partition in APART:
        run_id = refs[partition] = await triggered(bench, partition)
        keys, ref = bench.log.keys(partition), f"run:{run_id}"
        version = (await bench.redis.hget(keys.aggregate(ref), "version")).decode()
        await bench.redis.hset(keys.aggregate(ref), "fence", version)
        await bench.redis.zadd(keys.due, {ref: 1})
        beats.hold(run_id, version)

    async def extended():
        dues = [await bench.redis.zscore(bench.log.keys(p).due, f"run:{refs[p]}") for p in refs]
        return [due > 1 for due in dues]

    try:
        beats._beaten.of(bench.log.keys(0).due)
        beats._beaten._masters[slot_of(bench.log.keys(0).due)] = Address("127.0.0.1", free_port())
        with pytest.raises(RedisConnectionError):
            await asyncio.to_thread(beats.beat, extend=True)
        assert await extended() == [False, True, True]
        await asyncio.to_thread(beats.beat, extend=True)
        assert await extended() == [True, True, True]
    finally:
        beats.stop()


async def test_partitions_of_other_servers_are_kept_while_one_is_away(bench, monkeypatch):
    monkeypatch.setattr(topology, "ASK_EVERY_S", 0)
    known = bench.redis.topology
    keys = {each: bench.log.keys(each).lease("timer") for each in APART}
    share = Share(
        bench.redis, keys, bench.log.keys(1).lease("members"), "a", 30_000, server_of=server_of(bench.redis)
    )
    assert await share.renew() == {*APART}
    until = {each: share._leases[each]._until for each in keys}
    misled(known, keys[1])  # the replicas' place is there, too
    with pytest.raises(RedisConnectionError):
        await share.renew()
    assert [share._leases[each]._until > until[each] for each in keys] == [True, False, True]
    await known.master(keys[1])
    assert await share.renew() == {*APART}


async def test_nothing_is_written_by_half_while_a_partition_moves_and_it_is_opened_where_it_goes(
    bench, cluster, monkeypatch
):
    """What the script names beforehand is still there, and the run; not its work stream, which it comes to last."""
    keys = bench.log.keys(4)
    run_id = await triggered(bench, 4)
    await bench.redis.zadd(keys.due, {"job:of-tomorrow": ids.to_ms(bench.log.now()) + 86_400_000})
    await bench.redis.rpush(keys.timer_bell, "1")
    (claim,) = await Claims(bench.log, queues=("default",), consumer="c").take_from([4], 1)
    before = await bench.redis.xlen(keys.log)
    move = cluster.begin_to_move(keys.log)
    move.keys(keys.work("default", claim.priority))
    bench.reopened.clear()
    refused = []
    call = bench.log.wire.call

    async def noted(*commands):
        replies = await call(*commands)
        refused.extend(reply for reply in replies if isinstance(reply, Exception))
        return replies

    monkeypatch.setattr(bench.log.wire, "call", noted)
    starting = bench.decider.decide(
        f"run:{run_id}", StartRun(worker="w"), TESTER, held=claim.snapshot(), done=claim.done
    )
    deciding = asyncio.create_task(starting)
    await wait_until(lambda: refused, "the batch has been refused")
    assert isinstance(refused[0], TryAgainError)
    assert move.source.ask("XLEN", keys.log) == before
    move.end()
    await deciding
    assert bench.reopened == [4], "its incarnation is another's there"
    entries = await bench.redis.xrange(keys.log)
    positions = [int(entry.partition(b"-")[2]) for entry, _ in entries]
    assert positions == [*range(1, len(positions) + 1)]
    assert [fields[b"type"] for _, fields in entries][-2:] == [b"LogOpened", b"RunStarted"]


async def test_a_log_is_opened_anew_after_a_replica_took_over(bench, cluster):
    keys = bench.log.keys(0)
    master = cluster.master_of(keys.log)
    replica = cluster.replica_of(master)
    theirs = [each for each in range(PARTITIONS) if cluster.master_of(bench.log.keys(each).log) is master]
    await created(bench, 0)
    replica.ask("CLUSTER", "FAILOVER")
    await wait_until(lambda: cluster.master_of(keys.log) is replica, "the replica has taken over")
    bench.reopened.clear()
    for partition in range(PARTITIONS):
        await created(bench, partition)
    assert sorted(bench.reopened) == theirs


async def test_an_address_that_is_not_what_it_says_is_refused_with_the_right_one(cluster, valkey):
    async with closing(cluster.nodes[0].endpoint.url) as one:
        with pytest.raises(Fatal, match=r"write it as redis\+cluster://host:port,host:port"):
            await deployment.check_servers(one, SystemClock().now)
    async with closing(valkey.endpoint.url.replace("redis://", "redis+cluster://")) as single:
        with pytest.raises(Fatal, match="is a server of its own"):
            await deployment.check_servers(single, SystemClock().now)


async def test_a_replica_that_could_lose_what_it_is_given_is_refused_before_it_is_a_master(cluster):
    replica = next(node for node in cluster.nodes if not node.is_master)

    async def is_refused():
        async with closing(cluster.endpoint.url) as whole:
            try:
                await deployment.check_servers(whole, SystemClock().now)
            except Fatal as refusal:
                return "maxmemory-policy allkeys-lru" in str(refusal)
        return False

    assert not await is_refused()
    replica.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:  # a node that has just changed places isn't on everybody's map at once
        await wait_until(is_refused, "the replica is on the map, and looked at", timeout_s=10)
    finally:
        replica.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
