"""Backups of the log: every archived event, as JSON lines whose chain proves itself."""

import asyncio
import io
import json

import pytest

from shared import compression as compressions
from shared.backup.restoring import to_directory
from shared.backup.sealing import BadBackup, Damaged
from shared.domain import ids
from shared.readmodel import archive
from shared.readmodel.chain import FIELDS, GENESIS, link
from shared.readmodel.cold import segments
from shared.readmodel.cold.manifest import BadSegment, Manifest
from shared.readmodel.cold.segments import Chain, SegmentWriter

from .archive_kit import all_of, an_office
from .backup_kit import METHODS, SECRET, Desk, a_bucket, sealed


@pytest.fixture(scope="module")
def bucket():
    with a_bucket() as made:
        yield made


@pytest.fixture
async def office(postgres, valkey):
    """Two partitions with a story each, archived."""
    async with an_office(postgres, valkey) as made:
        await archive.record_deployment(made.pool, partitions=made.partitions, prefix=made.bench.prefix)
        projector = made.projector()
        for partition in range(made.partitions):
            job = await made.create(partition, name='of "odd"\nname\u2028ł€')
            for _ in range(3):
                run = await made.trigger(job, partition=partition)
                await made.succeed(run, await made.start(run), {"files": [1, None]})
            await all_of(projector, partition)
        yield made


async def url_of(office):
    async with office.pool.acquire() as connection:
        return await connection.fetchval("select current_database()")


@pytest.fixture
async def database_url(office, postgres):
    return postgres.endpoint.url.rsplit("/", 1)[0] + "/" + await url_of(office)


async def made(desk, **data):
    return await asyncio.to_thread(desk.run, backup_type="log", **data)


def restored(desk, name, target):
    stored = desk.bytes(name)
    return to_directory(io.BytesIO(stored), len(stored), SECRET.encode(), target)


def lines(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


async def rows_of(office, partition):
    """The archive's own rows, as lines have them."""
    rows = await office.pool.fetch("select * from book.events where partition = $1 order by pos", partition)
    found = []
    for row in rows:
        line = {name: row[name] for name in FIELDS} | {
            "at": ids.to_ms(row["at"]),
            "chain": row["chain"].hex(),
        }
        found.append(line)
    return found


@pytest.mark.parametrize("kind", ["file", "s3"])
@pytest.mark.parametrize(("compression", "encryption"), METHODS)
async def test_the_log_comes_back_event_by_event(
    office, database_url, kind, bucket, tmp_path, monkeypatch, compression, encryption
):
    monkeypatch.setattr(segments, "EVENTS_MAX", 4)
    desk = Desk(tmp_path, kind, bucket.options if kind == "s3" else None, database_url=database_url)
    told = await made(desk, compression=compression, encryption=encryption)
    expected = [await rows_of(office, partition) for partition in range(office.partitions)]
    assert told["events"] == sum(map(len, expected))
    assert (told["broken_links"], told["verified"]) == (0, True)
    await asyncio.to_thread(restored, desk, told["name"], tmp_path / "back")
    assert [lines(tmp_path / "back" / f"p{partition:04}.jsonl") for partition in range(2)] == expected
    manifest = Manifest.parse(json.loads((tmp_path / "back" / "manifest.json").read_text()))
    assert (manifest.events, manifest.prefix, manifest.partitions) == (told["events"], office.bench.prefix, 2)
    assert len([each for each in manifest.segments if each.partition == 0]) > 2
    for segment in manifest.segments:
        rows = [
            row for row in expected[segment.partition] if segment.first[1] <= row["pos"] <= segment.last[1]
        ]
        assert (len(rows), segment.chain) == (segment.count, rows[-1]["chain"])
        assert segment.at == (min(row["at"] for row in rows), max(row["at"] for row in rows))


async def test_a_restored_log_proves_itself_without_any_server(office, database_url, tmp_path):
    desk = Desk(tmp_path, "file", database_url=database_url)
    told = await made(desk)
    restored(desk, told["name"], tmp_path / "back")
    for partition in range(2):
        previous = GENESIS
        for line in lines(tmp_path / "back" / f"p{partition:04}.jsonl"):
            previous = link(previous, [line[name] for name in FIELDS])
            assert previous.hex() == line["chain"]


async def test_links_that_are_broken_in_the_archive_are_copied_counted_and_said(
    office, database_url, tmp_path
):
    await office.pool.execute("update book.events set actor = 'mallory' where partition = 0 and pos = 3")
    told = await made(Desk(tmp_path, "file", database_url=database_url))
    assert told["broken_links"] == 1


async def test_an_archive_whose_beginning_was_dropped_is_copied_from_there(office, database_url, tmp_path):
    await office.pool.execute("delete from book.events where partition = 0 and pos < 3")
    desk = Desk(tmp_path, "file", database_url=database_url)
    told = await made(desk)
    assert told["broken_links"] == 0
    manifest = Manifest.parse(restored(desk, told["name"], tmp_path / "back"))
    first = next(each for each in manifest.segments if each.partition == 0)
    assert (first.first[1], first.before) == (3, "")


async def test_a_database_without_an_archive_fails_the_attempt(postgres, tmp_path):
    desk = Desk(tmp_path, "file", database_url=postgres.endpoint.url)
    with pytest.raises(Exception, match="deployment"):
        await made(desk)
    assert desk.names() == []


# Segments, and copies that somebody has changed.


def event(pos, actor="a"):
    return (0, 1, pos, f"i{pos}", "T", 1, "job/j", "", "", 1000 + pos, actor, "", "", "", '{"x": "\\n"}')


def a_segment(first, last, chain, compression="zstd", actor="a"):
    writer = SegmentWriter(0, chain, compression)
    for pos in range(first, last + 1):
        previous = chain.before(pos)
        writer.add(event(pos, actor), link(previous or GENESIS, event(pos, actor)))
    return writer.finish()


def two_segments():
    chain = Chain()
    return [a_segment(1, 3, chain), a_segment(4, 5, chain)]


def copy_of(*files, manifest):
    def fill(payload):
        for name, data in files:
            payload.add(name, data)
        return manifest

    return sealed(fill, about={"backup_type": "log", "segments": "zstd"})


def document(*made_segments):
    return Manifest(partitions=1, prefix="p", compression="zstd", segments=tuple(made_segments)).document()


def brought(stored, tmp_path):
    return to_directory(io.BytesIO(stored), len(stored), None, tmp_path / "back")


def test_a_copy_of_two_segments_is_restored_as_one_file(tmp_path):
    (one, first), (two, second) = two_segments()
    brought(copy_of((one.name, first), (two.name, second), manifest=document(one, two)), tmp_path)
    assert [line["pos"] for line in lines(tmp_path / "back" / "p0000.jsonl")] == [1, 2, 3, 4, 5]
    assert one.name == "events/p0000/00000000000000000001-00000000000000000003.jsonl.zst"
    assert (two.before, two.broken) == (one.chain, 0)


def test_segments_that_are_missing_swapped_renamed_or_others_are_refused(tmp_path):
    (one, first), (two, second) = two_segments()
    other, changed = a_segment(1, 3, Chain(), actor="mallory")
    assert other.name == one.name
    whole = document(one, two)
    for files in (
        [(one.name, first)],
        [(two.name, second), (one.name, first)],
        [(one.name, changed), (two.name, second)],
        [(two.name, first), (one.name, second)],
        [(one.name, first), (two.name, second[:-3])],
        [(one.name, first), (two.name, second + b"more")],
        [(one.name, first), (two.name, b"no zstd")],
        [(one.name, first), (two.name, second), ("events/p0000/evil", b"")],
        [("../evil", first), (two.name, second)],
        [("events/../evil", first), (two.name, second)],
    ):
        with pytest.raises(BadBackup):
            brought(copy_of(*files, manifest=whole), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_is_none_is_refused(tmp_path):
    (one, first), _ = two_segments()
    for manifest in ({}, {"segments": 3}, document(one) | {"format": 99}):
        with pytest.raises(Damaged):
            brought(copy_of((one.name, first), manifest=manifest), tmp_path)


def test_a_segment_that_is_a_bomb_is_refused():
    made = compressions.compressor("zstd")
    bomb = made.compress(b" " * 100_000_000) + made.flush()
    with pytest.raises(BadSegment, match="more lines"):
        segments.read("x", io.BytesIO(bomb), Chain(), "zstd")


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b"no json\n", b'{"partition": "x"}\n', b"\xff\n", b""])
def test_lines_that_are_no_events_are_refused(line):
    with pytest.raises(BadSegment):
        segments.read("x", io.BytesIO(line), Chain(), "none")
