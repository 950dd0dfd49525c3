"""`daybook replay` where retention has dropped the archive's first months, or rows of runs."""

import pytest

from services.projector.replay import Unreplayable, service
from tests.integration.archive_kit import an_office
from tests.integration.audit_kit import write
from tests.integration.cold_kit import archived, at, daybook, rows
from tests.integration.replay_kit import read_here, replayed, wrong
from tests.integration.retention_kit import drop, forget, moment, split

LEDGERS = tuple(
    f"ledger.{name}" for name in ("api_keys", "calendars", "job_cards", "jobs", "run_hourly", "runs")
)


@pytest.fixture
async def cut(postgres, valkey, tmp_path, monkeypatch):
    """A book whose first events were copied and dropped, and of which some has gone on since."""
    read_here(monkeypatch)
    async with an_office(postgres, valkey) as office:
        office.told = await write(office)
        office.log.now = type(office.log).now.__get__(office.log)
        waits = await office.trigger(await office.create())
        await archived(office)
        await office.pool.execute(
            "insert into book.deployment (partitions, prefix) values (2, $1)", office.bench.prefix
        )
        office.first = await moment(office)
        await daybook("archive", "export", "--to", tmp_path / "cold", **at(office.database_url))
        running = office.told["latest"]
        job_id = await office.create(every=3600)
        office.told["after"] = await office.run(job_id)
        fence = (await office.log.load(f"run:{running}"))[f"run:{running}"].fence
        await office.succeed(running, fence)
        await office.succeed(waits, await office.start(waits))
        await archived(office)
        office.before = await rows(office.database_url, LEDGERS)
        await split(office.pool, "book.events", [office.first])
        await drop(office.database_url, office.first, monkeypatch)
        assert await office.pool.fetchval("select min(pos) from book.events where partition = 0") > 50
        yield office


async def test_what_only_dropped_events_tell_is_carried_over(cut):
    outcome = await replayed(cut)
    assert (wrong(outcome), outcome.swapped_s is None) == ({}, False)
    assert await rows(cut.database_url, LEDGERS) == cut.before
    assert outcome.read.events < 30
    await cut.run(await cut.create(partition=0))
    await archived(cut)
    assert wrong(await replayed(cut, dry_run=True)) == {}


async def test_a_row_is_mended_as_far_as_events_tell_and_from_cold_copies_all_the_way(cut, tmp_path):
    old, new = cut.told["cancelled"], cut.told["after"]
    await cut.pool.execute("update ledger.jobs set name = 'spoiled'")
    await cut.pool.execute("update ledger.runs set worker = 'spoiled' where id = any($1::uuid[])", [old, new])
    outcome = await replayed(cut)
    counts = {name: len(cut.before[f"ledger.{name}"]) for name in ("jobs", "job_cards")}
    assert wrong(outcome) == counts | {"runs": 1}
    left = await cut.pool.fetch("select id::text from ledger.runs where worker = 'spoiled'")
    assert [row["id"] for row in left] == [old]
    outcome = await replayed(cut, copies=[str(tmp_path / "cold")])
    assert wrong(outcome) == {"runs": 1}
    assert await rows(cut.database_url, LEDGERS) == cut.before


@pytest.mark.long
async def test_copies_that_lack_something_or_are_damaged_are_refused(cut, tmp_path):
    cold = tmp_path / "cold"
    late = tmp_path / "late"
    await daybook("archive", "export", "--to", late, **at(cut.database_url))
    await cut.pool.execute("update book.archive_cuts set chain = sha256('') where partition = 0")
    with pytest.raises(Unreplayable, match="contradicts the archive"):
        await replayed(cut, copies=[str(cold)])
    with pytest.raises(Unreplayable, match=r"Positions 1 to \d+ of partition \d were dropped"):
        await replayed(cut, copies=[str(late)])
    segment = next((cold / "events" / "p0000").iterdir())
    segment.write_bytes(segment.read_bytes()[:-9])
    with pytest.raises(Unreplayable, match="isn't whole"):
        await replayed(cut, copies=[str(cold)])
    (cold / "manifest.json").unlink()
    with pytest.raises(Unreplayable, match="no cold copy"):
        await replayed(cut, copies=[str(cold)])


async def _dies(*_):
    raise ConnectionError


async def test_rows_that_retention_has_deleted_do_not_come_back(postgres, valkey, monkeypatch):
    read_here(monkeypatch)
    async with an_office(postgres, valkey) as office:
        await office.pool.execute(
            "insert into book.deployment (partitions, prefix) values (2, $1)", office.bench.prefix
        )
        job_id = await office.create()
        gone = [await office.run(job_id) for _ in range(3)]
        await archived(office)
        first = await moment(office)
        stays = await office.run(job_id)
        await archived(office)
        with monkeypatch.context() as patched:
            patched.setattr(service.comparing, "compare", _dies)
            with pytest.raises(ConnectionError):
                await replayed(office)
        await forget(office.database_url, first, monkeypatch)
        before = await rows(office.database_url, LEDGERS)
        assert [row["id"] for row in map(_json, before["ledger.runs"])] == [stays]
        outcome = await replayed(office)
        assert (wrong(outcome), outcome.read.resumed) == ({}, 0), "what was built before that is of no use"
        assert await rows(office.database_url, LEDGERS) == before
        assert gone


def _json(text):
    import json  # noqa: PLC0415

    return json.loads(text)
