"""`daybook debug replay` and `daybook events diff`: the archive of a system at work, event by event."""

import json

import pytest

from shared.eventlog import snapshot
from tests.integration.archive_kit import an_office
from tests.integration.cold_kit import a_history, archived, at, daybook


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        await a_history(made, jobs=1)
        yield made


@pytest.fixture
async def job_id(office):
    made = await office.create(every=3600)
    await office.run(made)
    await archived(office)
    return made


async def replayed(office, *words):
    said = await daybook("debug", "replay", *words, "--json", **at(office.database_url))
    return [json.loads(line) for line in said.stdout.splitlines()]


async def test_a_job_is_replayed_to_what_stands_in_redis(office, job_id):
    steps = await replayed(office, "--job", job_id)
    assert [each["event"]["type"] for each in steps] == ["JobCreated", "RunRequested", "RunSucceeded"]
    ref = f"job:{job_id}"
    held = (await office.log.load(ref))[ref]
    assert steps[-1]["state"] == json.loads(snapshot.dump(held.state))
    assert steps[-1]["event"]["position"] == f"0:{held.version}"
    shorter = await replayed(office, "--job", job_id, "--until", steps[1]["event"]["position"])
    assert shorter == steps[:2]


async def test_each_event_is_told_with_what_it_has_changed(office, job_id):
    run_id = (await office.archived())[-1].subject.removeprefix("run/")
    said = await daybook("debug", "replay", "--run", run_id, **at(office.database_url))
    heads = [line.split()[2] for line in said.stdout.splitlines() if not line.startswith(" ")]
    assert heads == ["RunRequested", "RunStarted", "RunSucceeded"]
    assert '    /status: "queued" → "running"' in said.stdout
    assert '    /status: "running" → "succeeded"' in said.stdout


async def test_what_differs_between_two_positions_is_what_happened_between(office, job_id):
    _, requested, succeeded = [each["event"]["position"] for each in await replayed(office, "--job", job_id)]
    words = ("--job", job_id)
    said = await daybook("events", "diff", requested, succeeded, *words, status=1, **at(office.database_url))
    assert "/active_runs" in said.stdout or "/active" in said.stdout, said.stdout
    said = await daybook("events", "diff", succeeded, succeeded, *words, **at(office.database_url))
    assert said.stdout == "no difference\n"


async def test_what_differs_between_two_files_is_told_by_event(office, tmp_path):
    one, another = tmp_path / "one.jsonl", tmp_path / "another.json"
    events = [{"id": f"e{n}", "type": "JobDeleted", "data": {"by": "ann"}} for n in range(3)]
    one.write_text("".join(json.dumps(each) + "\n" for each in events[:2]))
    changed = [events[1] | {"data": {"by": "bob"}}, events[2]]
    another.write_text(json.dumps(changed))
    said = await daybook("events", "diff", one, another, status=1)
    assert said.stdout.splitlines() == [
        "- e0 JobDeleted",
        '~ e1 JobDeleted /data/by: "ann" → "bob"',
        "+ e2 JobDeleted",
    ]
    await daybook("events", "diff", one, one)
    said = await daybook("events", "diff", one, tmp_path / "none", status=1)
    assert "No such file" in said.stderr


async def test_what_is_not_there_is_said(office, job_id):
    said = await daybook("debug", "replay", "--job", "none", status=1, **at(office.database_url))
    assert "no event of job none" in said.stderr
    said = await daybook(
        "debug", "replay", "--job", job_id, "--until", "x", status=1, **at(office.database_url)
    )
    assert "no position" in said.stderr
    await daybook("debug", "replay", status=2)
