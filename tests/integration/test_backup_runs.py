"""One run, one backup: attempts that come twice, that are killed, that find what others left; and what is kept."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from services.executor import plugins
from services.executor.notebook import Notebook
from services.executor.outcome import Returned
from services.executor.pool import Pool
from services.executor.secrets import SecretMissing
from shared import job_types
from shared.backup.container import Writer
from shared.backup.names import Name
from shared.handlers import GiveUp
from shared.testing import NOON, a_told_run, wait_until

from .backup_kit import JOB, RUN, Desk, a_bucket
from .databases import a_database

KEPT = Name(backup_type="files", at=NOON, job_id=JOB, run_id=RUN)


@pytest.fixture(scope="module")
def bucket():
    with a_bucket() as made:
        yield made


@pytest.fixture(params=["file", "s3"])
def desk(request, tmp_path, bucket):
    made = Desk(tmp_path, request.param, bucket.options if request.param == "s3" else None)
    (made.root / "data").mkdir()
    (made.root / "data" / "a").write_text("first")
    return made


def run(desk, **options):
    return desk.run(**{"backup_type": "files", "paths": [str(desk.root / "data")]} | options)


def test_a_run_that_starts_twice_has_one_backup_which_stays_as_it_is(desk):
    first = run(desk, encryption=True)
    stored = desk.bytes(first["name"])
    (desk.root / "data" / "a").write_text("second")
    assert run(desk, encryption=True) == first
    assert desk.names() == [str(KEPT)]
    assert desk.bytes(first["name"]) == stored


def test_a_backup_that_is_damaged_is_written_anew(desk):
    first = run(desk)
    whole = desk.bytes(first["name"])
    with desk.store() as store, store.draft(KEPT) as draft:
        draft.write(whole[:-1])
        with draft.stored():
            draft.publish()
    again = run(desk)
    assert again["verified"]
    assert len(desk.bytes(again["name"])) == again["stored_bytes"] == len(whole)


def test_one_that_was_not_encrypted_does_not_do_for_one_that_must_be(desk):
    assert not run(desk)["encrypted"]
    assert run(desk, encryption=True)["encrypted"]
    assert b"first" not in desk.bytes(str(KEPT))


def test_older_ones_of_the_job_go_and_nobody_elses(desk):
    for later in range(3):
        assert run(desk, run_id=f"r{later}", later=later)["deleted"] == []
    others = [
        run(desk, job_id="another", run_id="theirs")["name"],
        str(replace(KEPT, backup_type="log", at=NOON - timedelta(days=1))),
    ]
    with (
        desk.store() as store,
        store.draft(replace(KEPT, backup_type="log", at=NOON - timedelta(days=1))) as draft,
    ):
        draft.write(b"not mine to judge")
        with draft.stored():
            draft.publish()
    told = run(desk, run_id="r3", later=3, keep_last=2)
    assert [name[6:22] for name in told["deleted"]] == ["20261123T120000Z", "20261123T120001Z"]
    kept = [str(replace(KEPT, at=NOON + timedelta(seconds=each), run_id=f"r{each}")) for each in (2, 3)]
    assert desk.names() == sorted([*others, *kept])


def test_nothing_goes_when_the_new_one_fails(desk, monkeypatch):
    for later in range(2):
        run(desk, run_id=f"r{later}", later=later)
    before = desk.names()
    monkeypatch.setattr(Writer, "sha256", property(lambda _: "another"))
    with pytest.raises(Exception, match="came back"):
        run(desk, run_id="r2", later=2, keep_last=1)
    assert desk.names() == before


def test_an_attempt_that_fails_leaves_nothing(desk, monkeypatch):
    def broken(self, data):
        raise OSError("disk full")

    monkeypatch.setattr(Writer, "write", broken)
    with pytest.raises(OSError, match="disk full"):
        run(desk)
    assert desk.names() == []


def test_without_its_key_a_backup_is_given_up_and_a_weak_one_too(desk):
    (desk.secrets / "backup_key").write_text("short")
    with pytest.raises(GiveUp, match="WeakKey"):
        run(desk, encryption=True)
    (desk.secrets / "backup_key").unlink()
    with pytest.raises(SecretMissing):
        run(desk, encryption=True)
    assert run(desk)["encrypted"] is False


# What killed attempts leave.


def test_a_live_writers_draft_is_left_alone_and_a_dead_ones_goes(tmp_path):
    desk = Desk(tmp_path, "alias")
    dead = desk.folder / "db"
    dead.mkdir()
    left = [KEPT.partial("0" * 16), replace(KEPT, run_id="other").partial("1" * 16)]
    theirs = [replace(KEPT, job_id="another").partial("2" * 16), ".precious.partial", f".{KEPT}.partial"]
    for name in (*left, *theirs):
        (dead / name).write_text("x")
    with desk.store() as store, store.draft(KEPT) as draft:
        draft.write(b"alive")
        with desk.store() as another:
            assert sorted(another.sweep(KEPT)) == sorted(left)
        assert len(desk.names()) == len(theirs) + 1
    assert desk.names() == sorted(theirs)


def test_uploads_that_were_never_completed_are_aborted(tmp_path, bucket):
    desk = Desk(tmp_path, "s3", bucket.options)
    (desk.root / "data").mkdir()
    keys = [
        f"{desk.prefix}/{KEPT}",
        f"{desk.prefix}/{replace(KEPT, job_id='another')}",
        f"{desk.prefix}/precious",
    ]
    for key in keys:
        bucket.client.create_multipart_upload(Bucket="bucket", Key=key)
    told = run(desk)
    left = bucket.client.list_multipart_uploads(Bucket="bucket", Prefix=desk.prefix).get("Uploads", ())
    assert sorted(each["Key"] for each in left) == sorted(keys[1:])
    assert desk.names() == [told["name"]]


def test_large_uploads_go_in_parts_and_an_unfinished_one_is_not_seen(tmp_path, bucket, monkeypatch):
    monkeypatch.setattr("shared.backup.s3_store.PART_BYTES", 5 << 20)
    desk = Desk(tmp_path, "s3", bucket.options)
    (desk.root / "data").mkdir()
    (desk.root / "data" / "large").write_bytes(os.urandom(12 << 20))
    told = run(desk)
    assert told["stored_bytes"] > 12 << 20
    assert "-" in bucket.client.head_object(Bucket="bucket", Key=f"{desk.prefix}/{told['name']}")["ETag"]
    other = replace(KEPT, run_id="other")
    with pytest.raises(KeyboardInterrupt), desk.store() as store, store.draft(other) as draft:  # noqa: PT012
        draft.write(os.urandom(11 << 20))
        assert (
            len(bucket.client.list_multipart_uploads(Bucket="bucket", Prefix=desk.prefix).get("Uploads", ()))
            >= 1
        )
        assert desk.names() == [told["name"]]
        raise KeyboardInterrupt
    uploads = bucket.client.list_multipart_uploads(Bucket="bucket", Prefix=desk.prefix).get("Uploads", ())
    assert str(other) not in "".join(each["Key"] for each in uploads)


CHILD = """
from pathlib import Path
import sys
from shared.backup import dumping
from shared.job_types.catalog import Source
from tests.integration.backup_kit import Desk
if sys.argv[3] == "copy":
    dumping.newest = lambda _: None
desk = Desk(Path(sys.argv[1]), "alias", sources={"shop": Source(name="shop", kind="postgres", url=sys.argv[2])})
desk.run(backup_type="database", source="shop")
"""


def child(tmp_path, url, way="copy"):
    return subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), url, way])


def dumps_of(url):
    """The processes of pg_dump that are at this database."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(path.read_bytes().decode())
    return [each for each in commands if "/pg_dump" in each and url.rpartition("/")[2] in each]


async def test_an_attempt_that_is_killed_leaves_no_backup_and_the_next_one_cleans_up(postgres, tmp_path):
    async with a_database(postgres, migrated=False) as url:
        holder = await asyncpg.connect(url)
        await holder.execute("create table a as select generate_series(1, 10) i; create table b ()")
        desk = Desk(tmp_path, "alias")
        async with holder.transaction():
            await holder.execute("lock table b in access exclusive mode")  # the copy waits for it, half done
            first = child(tmp_path, url)
            await wait_until(lambda: any(desk.folder.glob("db/.*.partial")), "it writes", timeout_s=60)
            first.send_signal(signal.SIGKILL)
            await asyncio.to_thread(first.wait)
            assert [name[0] for name in desk.names()] == ["."]
        await holder.close()
        assert await asyncio.to_thread(child(tmp_path, url).wait) == 0
    assert [name.partition("_")[0] for name in desk.names()] == ["database"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does it")
async def test_pg_dump_ends_with_the_attempt_that_started_it(postgres, tmp_path):
    async with a_database(postgres, migrated=False) as url:
        holder = await asyncpg.connect(url)
        await holder.execute("create table a ()")
        async with holder.transaction():
            await holder.execute("lock table a in access exclusive mode")
            first = child(tmp_path, url, "pg_dump")
            await wait_until(lambda: dumps_of(url), "pg_dump waits for the table", timeout_s=60)
            first.kill()
            await asyncio.to_thread(first.wait)
            await wait_until(lambda: not dumps_of(url), "pg_dump is gone")
        await holder.close()
    assert [name[0] for name in Desk(tmp_path, "alias").names()] == ["."]


# As the executor calls it.


async def test_it_runs_in_a_process_of_the_pool_and_tells_how_far_it_is(tmp_path):
    desk = Desk(tmp_path, "file")
    (desk.root / "data").mkdir()
    (desk.root / "data" / "a").write_bytes(os.urandom(3 << 20))
    told = []
    handler = plugins.handlers(job_types.installed(), desk.resources)["backup_task"]
    assert handler.blocking
    pool = Pool(processes=1, log_level="WARNING", log_format="json")
    try:
        outcome = await pool.call(
            handler.call,
            a_told_run(
                "backup_task",
                backup_type="files",
                destination=desk.destination,
                paths=[str(desk.root / "data")],
                encryption=True,
            ),
            Notebook(told.append),
            timeout_s=60,
            context={},
        )
    finally:
        pool.stop()
        pool.close()
    assert isinstance(outcome, Returned), outcome
    assert outcome.result["verified"]
    assert "writing" in "".join(told)
    assert "reading back" in "".join(told)
