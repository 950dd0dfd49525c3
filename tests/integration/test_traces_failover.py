"""Traces of failover: a server whose scripts are loaded may be another one, with other data."""

from urllib.parse import urlsplit

import pytest

from shared.embedded import Valkey
from shared.eventlog.connection import connect
from shared.eventlog.envelope import decode
from shared.testing import wait_until
from tests.integration.archive_kit import Office, all_of, an_office
from tests.integration.trace_kit import kinds, logged, opened_by, scripts_of


@pytest.fixture
async def pair(tmp_path):
    """Two servers that may follow each other, and clients of both."""
    with Valkey(tmp_path / "a") as a, Valkey(tmp_path / "b") as b:
        clients = [connect(each.endpoint.url) for each in (a, b)]
        for client, other in zip(clients, (b, a), strict=True):
            await client.config_set("masterauth", urlsplit(other.endpoint.url).password)
            await client.config_set("repl-diskless-sync-delay", 0)
        yield (a, clients[0]), (b, clients[1])
        for client in clients:
            await client.aclose()


async def follow(client, server):
    """Make the server of `client` a replica of `server`, and wait until it has all."""
    await client.replicaof("127.0.0.1", server.endpoint.port)

    async def is_level():
        told = await client.info("replication")
        return told["role"] == "slave" and told["master_link_status"] == "up"

    await wait_until(is_level, "the replica is level")


async def caught_up(replica, master):
    async def is_level():
        theirs = (await master.info("replication"))["master_repl_offset"]
        return (await replica.info("replication"))["slave_repl_offset"] >= theirs

    await wait_until(is_level, "the replica has what the master has")


async def test_a_master_that_comes_back_with_its_scripts_and_without_the_tail_takes_nothing(postgres, pair):
    """Trace 3a: B takes over from A, A follows B and keeps its scripts, B dies, A takes over without B's last."""
    (server_a, a), (server_b, b) = pair
    async with an_office(postgres, server_a) as office:
        await office.create()
        scripts = await scripts_of(a)
        await follow(b, server_a)
        await caught_up(b, a)
        await b.replicaof("NO", "ONE")
        await follow(a, server_b)
        there = office_on(office, server_b)
        await there.create()  # B is another incarnation: it is opened first
        await caught_up(a, b)
        assert (await kinds(b, office.keys(0)))[2:] == ["LogOpened", "JobCreated"]
        await a.replicaof("NO", "ONE")  # cut off; those who still see B go on writing there
        await there.create()
        server_b.kill()
        await there.close()
        assert await a.script_exists(*scripts) == [True, True], "no script is missing: NOSCRIPT tells nothing"
        before = await kinds(a, office.keys(0))
        assert before == ["LogOpened", "JobCreated", "LogOpened", "JobCreated"]
        await office.create()
        assert await kinds(a, office.keys(0)) == [*before, "LogOpened", "JobCreated"]
        assert await all_of(office.projector()) == 6


async def test_a_promoted_replica_without_what_is_archived_is_healed_before_it_is_written_to(postgres, pair):
    """Trace 3a: as above, and the tail that is missing had been archived."""
    (server_a, a), (server_b, b) = pair
    async with an_office(postgres, server_b) as office:
        await office.create()
        await follow(a, server_b)
        await caught_up(a, b)
        await scripts_of(a)
        await a.replicaof("NO", "ONE")
        await office.create()
        await all_of(office.projector())
        server_b.kill()
        there = office_on(office, server_a)
        await there.create()
        opened, _ = await logged(a, office.keys(0))
        assert decode(opened.type, opened.v, opened.data).reason == "heal"
        assert [event.position.pos for event in await logged(a, office.keys(0))] == [5, 6]
        assert len([key async for key in a.scan_iter(match=office.keys(0).aggregate("job:*"))]) == 3
        await there.close()


def office_on(office, server):
    """The same deployment as seen by processes that are pointed at another server."""
    made = Office(office.pool, server.endpoint.url)
    made.bench.prefix = office.bench.prefix
    made.log = opened_by(made.bench.another_log("elsewhere"), made.open)
    made.bench.log = made.log
    made.decider._log = made.log
    return made


@pytest.mark.parametrize("how", ["FLUSHALL", "REPLICAOF an empty server"])
async def test_data_that_went_while_the_scripts_stayed_is_noticed_and_made_anew(postgres, pair, how):
    """Trace 3d: the server is up all the time, its scripts are loaded, and its log is gone."""
    (server_a, a), (server_b, _) = pair
    async with an_office(postgres, server_a) as office:
        await office.create()
        await all_of(office.projector())
        scripts = await scripts_of(a)
        if how == "FLUSHALL":
            await a.flushall()
        else:
            await follow(a, server_b)
            await a.replicaof("NO", "ONE")
        assert await a.script_exists(*scripts) == [True, True]
        await office.create()
        opened, created = await logged(a, office.keys(0))
        assert decode(opened.type, opened.v, opened.data).reason == "heal"
        assert created.position.pos == 4
        assert len([key async for key in a.scan_iter(match=office.keys(0).aggregate("job:*"))]) == 2
