"""Recovery drills: a store is lost, or comes back older; then all is as it was, but for a written list, and goes on.

Each follows its page in deploy/runbook.md by the commands that stand there. With four services as processes, and an API
that answers, `tests/acceptance/test_drills.py` does the same.
"""

import re

import pytest
from redis.asyncio import Redis

from shared.faults import Fatal
from shared.testing import wait_until
from tests import pictures
from tests.integration.archive_kit import an_office
from tests.integration.cold_kit import at as database_at
from tests.integration.cold_kit import daybook
from tests.integration.drill_kit import (
    KINDS,
    archived,
    emptied,
    every_kind,
    goes_on,
    imported,
    more_happens,
    moved_to,
    picture,
    remembered,
    set_back,
)
from tests.integration.heal_kit import wipe
from tests.integration.trace_kit import Rewindable, a_rewindable_office, back, kinds, logged

pytestmark = pytest.mark.xdist_group("drills")


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


@pytest.fixture
async def set_back_able(postgres, tmp_path):
    async with a_rewindable_office(postgres, tmp_path) as made:
        yield made


def at(office):
    return database_at(office.database_url) | {"DAYBOOK_REDIS_URL": office.url}


async def recovered(office, *, status=0):
    """What `daybook recover` says of partition 0."""
    said = await daybook("recover", status=status, **at(office))
    return said.stdout.splitlines()[0].removeprefix("partition 0: ")


async def test_redis_emptied(office):
    told = await every_kind(office)
    before = await picture(office)
    assert {name.partition(" ")[2].partition(":")[0] for name in before.values} >= KINDS
    for partition in range(office.partitions):
        await wipe(office, partition)
    assert re.fullmatch(
        r"the log is empty, the archive is at \S+: healed, \d+ jobs and \d+ runs made anew, opened",
        await recovered(office),
    )
    after = await picture(office)
    assert pictures.differences(before, after) == set()
    for partition in range(office.partitions):
        assert await kinds(office.redis, office.keys(partition)) == ["LogOpened"]
    await goes_on(office, told)


async def test_redis_set_back(set_back_able):
    """What of the older state isn't so any more goes; what has come since comes back."""
    office, server = set_back_able
    told = await every_kind(office)
    server.remember()
    await more_happens(office)
    before = await picture(office)
    server.rewind()
    await back(office.redis)
    assert re.match(
        r"the log ends at \S+, 1\d events before the archive, .*: healed, ", await recovered(office)
    )
    assert pictures.differences(before, await picture(office)) == set()
    await back(office.blocking)
    await goes_on(office, told)


async def test_redis_forked(set_back_able, tmp_path):
    """A replica is promoted and written to; then somebody goes back to the former master, which had written on."""
    office, master = set_back_able
    told = await every_kind(office)
    with Rewindable(tmp_path / "replica") as replica:
        elsewhere = await _promoted(office, master, replica)
        lost = await office.create(name="of the former master alone")  # nobody has archived it
        await elsewhere.open(0)
        await elsewhere.open(1)
        await elsewhere.log.sync()
        await more_happens(elsewhere)
        before, ours = await picture(elsewhere), await logged(office.redis, office.keys(0))
        replica.kill()
        with pytest.raises(Exception, match="is a former master"):
            await office.open(0)
        master.crash()  # only then is it asked again whether it may be written to
        await back(office.redis)
        said = await recovered(office)
        assert re.match(r"forked after \S+: 1 events quarantined, healed, ", said), said
        assert pictures.differences(before, await picture(office)) == {"book.quarantine"}
        aside = await office.pool.fetch("select id, subject from book.quarantine where partition = 0")
        assert [tuple(row) for row in aside] == [(ours[-1].id, f"job/{lost}")]
        await elsewhere.close()
    await back(office.blocking)
    await goes_on(office, told)


async def _promoted(office, master, replica):
    """The same office over a replica that has all, and is a master from now on."""
    client = Redis.from_url(replica.endpoint.url)
    password, port = re.search(r":(\w+)@127.0.0.1:(\d+)", master.endpoint.url).groups()
    await client.config_set("masterauth", password)
    await client.replicaof("127.0.0.1", port)

    async def is_level():
        info = await client.info("replication")
        if info["master_link_status"] != "up":
            return False
        theirs = await office.redis.info("replication")
        return info["slave_repl_offset"] == theirs["master_repl_offset"]

    await wait_until(is_level, "the replica has all")
    for partition in range(office.partitions):  # its first replica gives a master another incarnation
        await office.open(partition)
    await archived(office)
    await wait_until(is_level, "the replica has that, too")
    await client.replicaof("no", "one")
    await client.aclose()
    return await moved_to(office, replica.endpoint.url)


async def test_postgres_emptied_with_a_cold_copy_at_hand(office, tmp_path):
    """Redis has what has come since the copy was made; the tables are as they were when the projector has that, too."""
    told = await every_kind(office)
    await daybook("archive", "export", "--to", tmp_path / "cold", **database_at(office.database_url))
    await more_happens(office)
    before = await picture(office)
    await emptied(office)
    said = await daybook("recover", status=1, **at(office))
    assert "`daybook archive import`" in said.stderr
    await imported(office, tmp_path / "cold")
    assert await recovered(office) == "open already"
    await archived(office)
    assert pictures.differences(before, await picture(office)) == set()
    await goes_on(office, told)


async def test_both_set_back_redis_further_than_postgres(set_back_able):
    office, server = set_back_able
    told = await every_kind(office)
    server.remember()
    await more_happens(office)
    before, kept = await picture(office), await remembered(office)
    await more_happens(office)
    server.rewind()
    await set_back(office, kept)
    await back(office.redis)
    assert ": healed, " in await recovered(office)
    assert pictures.differences(before, await picture(office)) == set()
    await back(office.blocking)
    await goes_on(office, told)


@pytest.mark.parametrize("restarted", [False, True], ids=["its log is open", "its log was closed"])
async def test_both_set_back_postgres_further_than_a_log_that_was_trimmed(set_back_able, tmp_path, restarted):
    """What lies between is in a cold copy alone: until that is imported nothing is written, and nothing projected."""
    office, server = set_back_able
    told = await every_kind(office)
    kept, early, cold = await remembered(office), tmp_path / "early", tmp_path / "cold"
    await daybook("archive", "export", "--to", early, **database_at(office.database_url))
    await more_happens(office)
    await daybook("archive", "export", "--to", cold, **database_at(office.database_url))
    ends = [(await logged(office.redis, office.keys(each)))[-1].position for each in range(office.partitions)]
    await more_happens(office)
    for partition, end in enumerate(ends):
        await office.redis.xtrim(
            office.keys(partition).log, minid=f"{end.epoch}-{end.pos + 1}", approximate=False
        )
    server.remember()
    before = await picture(office)
    if restarted:
        await more_happens(office)
        server.rewind()
        await back(office.redis)
    await set_back(office, kept)
    stuck = await picture(office)
    assert await _refusal(office, restarted=restarted) == ends[0].pos + 1
    await imported(office, early)  # too early a copy: it has nothing that is missing
    assert await _refusal(office, restarted=restarted) == ends[0].pos + 1
    assert pictures.differences(stuck, await picture(office), ()) == set(), "nothing was written"
    await imported(office, cold)
    assert await recovered(office) == ("level with the archive: opened" if restarted else "open already")
    await back(office.blocking)
    await archived(office)
    after = await picture(office)
    if restarted:
        pictures.take_back_openings(before, after)
    assert pictures.differences(before, after) == set()
    await goes_on(office, told)


async def _refusal(office, *, restarted):
    """Have whoever meets the hole refuse to go on, and say what to do; where the log begins, as it says."""
    if restarted:
        said = await recovered(office, status=1)
    else:
        assert await recovered(office) == "open already"
        with pytest.raises(Fatal) as refused:
            await archived(office)
        said = str(refused.value)
    assert "`daybook archive import`" in said, said
    return int(re.search(r"the log (?:begins|goes on) at \d+-(\d+)", said)[1])


# The list of what may differ.


async def test_what_may_differ_is_a_list_of_which_each_entry_is_needed_and_none_covers_more(office):
    await every_kind(office)
    before = await picture(office)
    for partition in range(office.partitions):
        await wipe(office, partition)
        await office.open(partition)
    after = await picture(office)
    assert pictures.differences(before, after) == set()
    needless = [
        each.of
        for each in pictures.KEYS
        if not pictures.differences(before, after, [other for other in pictures.ALL if other is not each])
    ]
    assert needless == []
    keys = office.keys(0)
    running = next(ref for ref, at in after.values["0 due"].content if ref in after._running)
    waiting = next(ref for ref, at in after.values["0 due"].content if ref not in after._running)
    tampered = {
        "0 meta": office.redis.hset(keys.meta, "partitions", 3),
        f"0 {waiting}": office.redis.hset(keys.aggregate(waiting), "version", "1-1"),
        f"0 {running}": office.redis.hset(keys.aggregate(running), "fence", "1-1"),
        "0 due": office.redis.zadd(keys.due, {waiting: 5}),
        "0 work:default:5": office.redis.xadd(keys.work("default", 5), {"run": "x"}),
        "book.checkpoints": office.pool.execute("update book.checkpoints set pos = pos + 1 where partition = 1"),
        "book.events": office.pool.execute("update book.events set actor = 'x' where partition = 1 and pos = 1"),
        "ledger.jobs": office.pool.execute("update ledger.jobs set active_runs = 7 where status = 'paused'"),
    }  # fmt: skip
    for name, change in tampered.items():
        await change
        assert name in pictures.differences(before, await picture(office)), name
    await office.redis.zrem(keys.due, running)
    assert "0 due" in pictures.differences(before, await picture(office))
