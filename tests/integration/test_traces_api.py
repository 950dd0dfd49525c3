"""Traces of the API: no answer is given for a write that another history has taken the place of."""

import asyncio

import pytest

from shared.domain import ids
from shared.domain.commands import CreateJob
from shared.eventlog.decider import Decider
from shared.eventlog.log import EventLog
from shared.eventlog.position import Position
from shared.eventlog.snapshot import NOTHING
from shared.metrics import Metrics
from shared.testing import LEASE, TESTER, a_job_id, a_spec, chance, wait_until
from tests.integration.api_stage import JOB, stage_on
from tests.integration.trace_kit import Rewindable, back, logged


@pytest.fixture
def server(tmp_path):
    with Rewindable(tmp_path) as made:
        yield made


@pytest.fixture
async def stage(server, postgres, tmp_path):
    async with stage_on(server, postgres, tmp_path, partitions=1) as made:
        yield made


async def the_log(stage):
    return await logged(stage.redis, stage.log.keys(0))


async def a_write_under_way(stage):
    """A POST that is in the log and waits for an archive that stands still; and its event."""
    asked = asyncio.create_task(stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=25"}))

    async def written():
        last = (await the_log(stage))[-1]
        return last if last.type == "JobCreated" else None

    return asked, await wait_until(written, "it is in the log")


async def traffic(stage, jobs=5):
    """What another process writes; it finds the log closed, and opens it."""
    log = EventLog(
        stage.redis,
        prefix=stage.prefix,
        partitions=1,
        process="another",
        metrics=Metrics(),
        reopen=stage.reopen,
    )
    decider = Decider(log, lease=LEASE, chance=chance)
    await log.sync()
    for _ in range(jobs):
        job_id = a_job_id(0, log.now())
        command = CreateJob(job_id=job_id, spec=a_spec(), owner="ann", tenant="t")
        await decider.decide(f"job:{job_id}", command, TESTER, held=NOTHING)
    await log.close()


async def test_a_write_that_was_rolled_back_is_not_acknowledged_by_those_that_got_its_numbers(stage, server):
    """Trace 1: waiting for e1-2; Redis loses it; e2-3…7 are archived. The answer is for a job that exists."""
    await stage.stop_projector()
    server.remember()
    asked, gone = await a_write_under_way(stage)
    server.rewind()
    await back(stage.redis)
    await traffic(stage)
    assert (await the_log(stage))[-1].position.pos > gone.position.pos
    stage.start_projector()
    made = await asyncio.wait_for(asked, 30)
    assert made.status == 201
    await stage.ask("GET", f"jobs/{made.json['id']}", status=200)
    (again,) = [e for e in await the_log(stage) if e.subject == gone.subject]
    assert again.position.epoch > gone.position.epoch
    assert made.headers["Daybook-Position"] == f"0:{again.position}"


async def test_a_write_that_outlived_a_crash_is_acknowledged_as_it_stands(stage, server):
    """Trace 1: as above, but nothing was lost: the archive has its id, so it is not decided a second time."""
    await stage.stop_projector()
    asked, kept = await a_write_under_way(stage)
    server.crash()
    await back(stage.redis)
    await traffic(stage)
    stage.start_projector()
    made = await asyncio.wait_for(asked, 30)
    assert (made.status, made.headers["Daybook-Position"]) == (201, f"0:{kept.position}")
    assert [e for e in await the_log(stage) if e.subject == kept.subject] == [kept]


async def test_a_read_that_names_a_rolled_back_position_is_told_so(stage, server):
    """Trace 1: e1-2 is neither below e2-7 nor part of the history."""
    await stage.stop_projector()
    server.remember()
    made = await stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "respond-async"}, status=202)
    server.rewind()
    await back(stage.redis)
    await traffic(stage)
    stage.start_projector()
    await stage.level()
    named = {"Daybook-Position": made.headers["Daybook-Position"]}
    told = await stage.ask("GET", "jobs", headers=named, status=409)
    assert told.json["type"] == "/problems/history-rewound"


async def test_a_trigger_needs_no_table_that_knows_where_its_run_is(stage, monkeypatch):
    """Trace 12: Postgres is away; the id of the execution names its partition."""
    job = await stage.create()
    await stage.stop_projector()

    async def away(*_args):
        raise ConnectionRefusedError("Postgres is away")

    monkeypatch.setattr(type(stage.deps.ledger), "_ask", away)
    run = await stage.ask(
        "POST", f"jobs/{job['id']}/trigger", headers={"Prefer": "respond-async"}, status=202
    )
    run_id = run.json["id"]
    assert ids.partition_of(run_id) == ids.partition_of(job["id"])
    held = (await stage.log.load(f"run:{run_id}"))[f"run:{run_id}"]
    assert held.state.job_id == job["id"]
    place = run.headers["Daybook-Position"].partition(":")[2]
    assert Position.parse(place) == (await the_log(stage))[-1].position
