"""Cold copies and retention together: what a backup of the log holds may leave the archive, and nothing else."""

import asyncio
import io
import json

import asyncpg
import pytest

from services.executor.handlers import backup_task_copies
from services.projector.audit import verify
from shared.backup import dumping
from shared.backup.restoring import to_database, to_directory
from shared.readmodel import archive, cuts
from shared.readmodel.cold import exporting, segments
from shared.readmodel.cold.manifest import Manifest

from .archive_kit import all_of, an_office
from .audit_kit import Author, write
from .backup_kit import Desk
from .databases import a_database
from .retention_kit import TABLES, drop, moment, split

OLD = "book.events_part0"


@pytest.fixture
async def office(postgres, valkey):
    """A book that the audit finds right, with a month that is old and one that is present."""
    async with an_office(postgres, valkey) as made:
        await archive.record_deployment(made.pool, partitions=made.partitions, prefix=made.bench.prefix)
        made.told = await write(made)
        await archived(made)
        made.first = await moment(made)
        await Author(made).runs(made.told["queued"])
        made.log.now = type(made.log).now.__get__(made.log)
        await archived(made)
        await split(made.pool, "book.events", [made.first])
        for partition in range(made.partitions):
            async for name in made.redis.scan_iter(match=made.keys(partition).aggregate("run:*"), count=1000):
                if await made.redis.pttl(name) > 0:  # a minute passes: runs that have ended leave Redis
                    await made.redis.delete(name)
        yield made


@pytest.fixture
def desk(office, tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "EVENTS_MAX", 10)
    return Desk(tmp_path, "file", database_url=office.database_url)


async def archived(office):
    for partition in range(office.partitions):
        await all_of(office.projectors[0], partition)


async def made(desk, run_id="r0", later=0, **data):
    return await asyncio.to_thread(desk.run, run_id=run_id, later=later, backup_type="log", **data)


async def retained(office, monkeypatch):
    """Retention by its defaults: only what a cold copy holds goes."""
    return await drop(office.database_url, office.first, monkeypatch, require_cold_copy=True)


def manifest_of(desk, name, target):
    stored = desk.bytes(name)
    return Manifest.parse(to_directory(io.BytesIO(stored), len(stored), None, target))


async def entered(office):
    """By place: partition, first and last pos of each range that is entered."""
    rows = await office.pool.fetch("select * from book.cold_copies order by place, partition, first_pos")
    found = {}
    for row in rows:
        found.setdefault(row["place"].rpartition("/")[2], []).append(
            (row["partition"], row["first_pos"], row["last_pos"])
        )
    return found


def ranges(manifest):
    return [(each.partition, each.first[1], each.last[1]) for each in manifest.segments]


async def violations(office):
    report = await verify(office.pool, office.redis)
    return {line.name: line.first for line in report.lines if line.violations}


async def test_what_was_backed_up_is_dropped_and_what_is_left_is_backed_up_from_the_cut(
    office, desk, tmp_path, monkeypatch
):
    assert await violations(office) == {}
    assert "no cold copy" in (await retained(office, monkeypatch))["kept"][0]["why"]
    first = await made(desk)
    whole = manifest_of(desk, first["name"], tmp_path / "first")
    assert await entered(office) == {first["name"]: ranges(whole)}
    assert await office.pool.fetchval("select min(place) from book.cold_copies") == (
        f"{desk.destination}/{first['name']}"
    )
    done = await retained(office, monkeypatch)
    assert (done["partitions_dropped"], done["kept"]) == ([OLD], [])
    assert await violations(office) == {}
    second = await made(desk, "r1", later=1)
    assert (second["verified"], second["broken_links"]) == (True, 0)
    assert second["events"] == first["events"] - done["rows_deleted"] > 0
    left = manifest_of(desk, second["name"], tmp_path / "second")
    for partition in {each.partition for each in left.segments}:
        cut = await cuts.cut_of(office.pool, partition)
        begin = next(each for each in left.segments if each.partition == partition)
        assert (begin.first[1], begin.before) == (cut.pos + 1, cut.chain.hex())
    assert (await entered(office))[second["name"]] == ranges(left)


async def test_what_follows_a_cut_is_no_cold_copy_if_it_does_not_follow_from_it(office, desk, monkeypatch):
    await made(desk)
    await retained(office, monkeypatch)
    await office.pool.execute("update book.archive_cuts set chain = sha256('') where partition = 0")
    told = await made(desk, "r1", later=1)
    assert told["broken_links"] == 1
    cut = await cuts.cut_of(office.pool, 0)
    assert (0, cut.pos + 1) not in [each[:2] for each in (await entered(office)).get(told["name"], [])]


async def test_a_copy_that_keep_last_deletes_is_struck_out_and_keeps_its_month(office, desk, monkeypatch):
    first = await made(desk)
    await office.pool.execute(f"update {OLD} set actor = 'mallory' where partition = 0 and pos = 3")  # noqa: S608
    second = await made(desk, "r1", later=1, keep_last=1)
    assert (second["broken_links"], second["deleted"]) == (1, [first["name"]])
    held = await entered(office)
    assert held.keys() == {second["name"]}
    assert 1 not in [pos for partition, pos, _ in held[second["name"]] if partition == 0]
    done = await retained(office, monkeypatch)
    assert (done["partitions_dropped"], done["kept"][0]["partition"]) == ([], OLD)
    assert "no cold copy holds 0:1 to" in done["kept"][0]["why"]


async def test_the_only_copy_of_a_month_that_was_dropped_outlives_keep_last(office, desk, monkeypatch):
    first, second = await made(desk), await made(desk, "r1", later=1)
    await retained(office, monkeypatch)
    third = await made(desk, "r2", later=2, keep_last=1)
    assert third["deleted"] == [first["name"]]  # what it holds, the second does too
    assert (await entered(office)).keys() == set(desk.names()) == {second["name"], third["name"]}
    await office.pool.execute("update book.cold_copies set place = 'file:///elsewhere' where run_id = 'r2'")
    fourth = await made(desk, "r3", later=3, keep_last=1)
    assert (fourth["deleted"], desk.names()) == ([third["name"]], [second["name"], fourth["name"]])


async def test_a_copy_is_struck_out_whatever_its_place_was_called(office, desk):
    first = await made(desk)
    second = await made(desk, "r1", later=1, keep_last=1, destination=desk.destination + "/")
    assert second["deleted"] == [first["name"]]
    assert (await entered(office)).keys() == {second["name"]}


async def test_a_copy_that_cannot_be_struck_out_stays(office, desk):
    first = await made(desk)
    await office.pool.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$;"
        "create trigger refuse before delete on book.cold_copies for each row when (old.run_id = 'r0')"
        " execute function refuse()"
    )
    with pytest.raises(asyncpg.RaiseError, match="not now"):
        await made(desk, "r1", later=1, keep_last=1)
    assert first["name"] in desk.names()
    await office.pool.execute("drop trigger refuse on book.cold_copies")
    again = await made(desk, "r1", later=1, keep_last=1)
    assert (again["deleted"], desk.names()) == ([first["name"]], [again["name"]])
    assert (await entered(office)).keys() == {again["name"]}


async def test_a_crash_before_a_copy_was_entered_is_made_good_by_the_next_attempt(office, desk, monkeypatch):
    class Killed(BaseException):
        pass

    async def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(backup_task_copies, "enter", killed)
        with pytest.raises(Killed):
            await made(desk)
    (name,) = desk.names()
    stored = desk.bytes(name)
    assert await entered(office) == {}
    told = await made(desk)
    assert (told["name"], desk.bytes(name)) == (name, stored)
    held = await entered(office)
    assert held.keys() == {name}
    await made(desk)
    assert await entered(office) == held
    assert (await retained(office, monkeypatch))["partitions_dropped"] == [OLD]


async def test_a_copy_that_is_damaged_counts_for_nothing_until_it_was_written_anew(office, desk, monkeypatch):
    told = await made(desk)
    path = desk.root / "kept" / told["name"]
    path.write_bytes(path.read_bytes()[:-1])

    def full(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("shared.backup.container.Writer.write", full)
        with pytest.raises(OSError, match="disk full"):
            await made(desk)
    assert await entered(office) == {}
    assert (await made(desk))["verified"]
    assert (await entered(office)).keys() == {told["name"]}


async def test_no_month_is_dropped_while_the_archive_is_copied(office, desk, monkeypatch):
    """Between the copy's snapshot and its read: a table that is gone is gone for older snapshots, too."""
    await made(desk)
    before = exporting.find_deployment
    dropped = []

    async def meanwhile(connection):
        found = await before(connection)  # the snapshot was taken
        try:
            async with office.pool.acquire() as other, other.transaction():
                await other.execute("set local lock_timeout = '100ms'")
                await other.execute(f"drop table {OLD}")
                dropped.append(OLD)
        except asyncpg.LockNotAvailableError:
            pass
        return found

    monkeypatch.setattr(exporting, "find_deployment", meanwhile)
    async with (
        asyncpg.create_pool(office.database_url, min_size=1, max_size=1) as pool,
        pool.acquire() as one,
    ):
        copied = await exporting.export(one, lambda *_: None, compression="none")
    assert dropped == []
    assert copied.events == await office.pool.fetchval("select count(*) from book.events")


async def test_a_database_dump_by_copy_has_what_retention_has_left(office, desk, postgres, monkeypatch):
    await made(desk)
    await retained(office, monkeypatch)
    monkeypatch.setattr(dumping, "newest", lambda _: None)
    told = await asyncio.to_thread(desk.run, run_id="r1", backup_type="database")
    stored = desk.bytes(told["name"])
    async with a_database(postgres, migrated=False) as url:
        await to_database(io.BytesIO(stored), len(stored), None, url)
        back = await asyncpg.connect(url)
        try:
            for table in TABLES:
                question = f"select to_jsonb(t)::text as row from {table} as t order by 1"  # noqa: S608
                there = [json.loads(row["row"]) for row in await office.pool.fetch(question)]
                assert [json.loads(row["row"]) for row in await back.fetch(question)] == there, table
            for table in ("archive_cuts", "brought_forward", "kept_events", "cold_copies"):
                assert await back.fetchval(f"select count(*) from book.{table}") > 0, table  # noqa: S608
        finally:
            await back.close()
