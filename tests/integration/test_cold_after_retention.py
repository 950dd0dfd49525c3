"""Cold copies, signed checkpoints and replays where retention has dropped the archive's first months."""

import json

import pytest

from tests.integration.archive_kit import an_office
from tests.integration.cold_kit import a_history, an_empty_database, archived, at, daybook, rows
from tests.integration.retention_kit import drop, moment, split


@pytest.fixture
async def cut(postgres, valkey, tmp_path, monkeypatch):
    """An office whose first events are in a month that was dropped, after they were copied and signed."""
    async with an_office(postgres, valkey) as office:
        await a_history(office)
        office.job_id = await office.create(every=3600)
        await archived(office)
        office.first = await moment(office)
        url = at(office.database_url)
        await daybook("archive", "export", "--to", tmp_path / "old", **url)
        await daybook("audit", "key", tmp_path / "key")
        await daybook("audit", "sign", "--key-file", tmp_path / "key", "--to", tmp_path / "signed", **url)
        await office.run(office.job_id)
        await office.create(partition=1)
        await archived(office)
        office.before = await rows(office.database_url)
        office.steps = await replayed(office)
        await split(office.pool, "book.events", [office.first])
        await drop(office.database_url, office.first, monkeypatch)
        assert len((await rows(office.database_url))["book.events"]) < len(office.before["book.events"])
        yield office


async def replayed(office):
    said = await daybook("debug", "replay", "--job", office.job_id, "--json", **at(office.database_url))
    return [json.loads(line) for line in said.stdout.splitlines()]


async def test_a_replay_begins_with_what_was_brought_forward(cut):
    brought, *rest = await replayed(cut)
    created, *after = cut.steps
    assert (brought["event"], brought["state"]) == (None, created["state"])
    assert rest == after
    pos = int(created["event"]["position"].rpartition("-")[2])
    words = ("debug", "replay", "--job", cut.job_id, "--until", f"0:1-{pos - 1}")
    said = await daybook(*words, status=1, **at(cut.database_url))
    assert "has been dropped; the cold copies have it" in said.stderr


async def test_what_was_dropped_is_shown_by_the_copy_not_by_the_archive(cut, tmp_path):
    check = ("audit", "check", tmp_path / "signed", "--public-key", tmp_path / "key.pub", "--against")
    await daybook(*check, tmp_path / "old")
    await daybook(
        *check, "database", **at(cut.database_url)
    )  # the last that was dropped is the head: its link is kept
    earlier = json.loads((tmp_path / "old" / "manifest.json").read_text())["segments"][0]
    assert (
        await cut.pool.fetchval("select pos from book.archive_cuts where partition = 0") == earlier["last"][1]
    )
    await cut.pool.execute("update book.archive_cuts set chain = sha256('')")
    said = await daybook(*check, "database", status=1, **at(cut.database_url))
    assert "it has another link than was signed" in said.stdout


async def test_a_copy_goes_on_over_a_cut_and_a_new_one_begins_there(cut, postgres, tmp_path):
    url = at(cut.database_url)
    await daybook("archive", "export", "--to", tmp_path / "new", **url)
    said = await daybook("archive", "verify", "--json", tmp_path / "new")
    left = len((await rows(cut.database_url, ("book.events",)))["book.events"])
    assert json.loads(said.stdout)["events"] == left
    async with an_empty_database(postgres) as empty:
        said = await daybook("archive", "import", tmp_path / "new", status=1, **at(empty))
        assert "import what lies between first" in said.stderr
        await daybook("archive", "import", tmp_path / "old", **at(empty))
        await daybook("archive", "import", tmp_path / "new", **at(empty))
        assert await rows(empty) == cut.before
    await daybook("archive", "export", "--to", tmp_path / "old", **url)
    said = await daybook("archive", "verify", "--json", tmp_path / "old")
    assert json.loads(said.stdout)["events"] == len(cut.before["book.events"])
    await cut.pool.close()  # what is there already has been dropped in part, and contradicts nothing
    said = await daybook("archive", "import", tmp_path / "old", **url)
    assert said.stdout.startswith("0 events imported")
