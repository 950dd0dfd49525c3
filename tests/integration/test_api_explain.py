"""The routes and the command that explain: who may ask what, and what is told where something is missing."""

import asyncio
import json
import time
from datetime import timedelta
from urllib.parse import quote

import asyncpg
import pytest

from services.api import explanations
from services.api.explaining.codes import Code
from services.api.explaining.finding import lasting
from services.api.openapi import document
from services.projector import projections
from services.projector.batch import ARCHIVED
from services.projector.rows import statement, waypoints
from shared.domain import ids
from shared.domain.commands import StartRun
from shared.domain.events import OccurrencesSkipped, RunRequested, RunStarted, RunSucceeded
from shared.domain.spec import run_spec
from shared.eventlog.envelope import Context, encode
from shared.eventlog.position import parse_places
from shared.readmodel import archive
from shared.readmodel.database import columns
from shared.recovery import recorded
from tests.integration.api_stage import JOB, KNOWN, stage_on
from tests.integration.cli_kit import Line, listening
from tests.integration.era_kit import an_era, shifted_valkey, utc
from tests.integration.retention_kit import moment
from tests.integration.test_api_auth import SECRET, by, key_of
from tests.integration.test_retention_api import age

LONG = 100_000  # events of one job, of which any time must be explained within 200 ms


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def guarded(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on", secret_key=SECRET) as made:
        yield made


@pytest.fixture
async def daybook(stage):
    async with listening(stage.app) as url:
        yield Line(url)


async def asked(stage, path, at=None, status=200, **options):
    query = "" if at is None else f"?at={quote(at)}"
    return await stage.ask("GET", f"{path}/explain{query}", status=status, **options)


async def test_what_is_no_time_and_no_position_is_refused_with_a_sentence(stage):
    made = await stage.ask("POST", "jobs", json=JOB, status=201)
    path, position = f"jobs/{made.json['id']}", made.headers["Daybook-Position"]
    ((mine, at),) = parse_places(position, partitions=2).items()
    other = dict(await stage.deps.ledger.checkpoints())[1 - mine]
    for text, status, said in (
        ("yesterday", 422, "write a time with its offset"),
        ("2026-01-01T00:00:00", 422, "write a time with its offset"),
        ("9999-01-01T00:00:00Z", 422, "years 1970 to 8999"),
        ("9:1-1", 422, "is not a position here"),
        (f"{1 - mine}:{other}", 422, f"names no position in partition {mine}"),
        (f"{mine}:{at.epoch}-{at.pos + 1000}", 422, "is beyond the end of the log"),
        (f"{mine}:{at.epoch - 1}-{at.pos}", 409, "is not part of the history"),
        (f"{mine}:0-0", 422, "lies before everything"),
    ):
        refused = await asked(stage, path, text, None, headers={"Prefer": "wait=0"})
        assert (refused.status, said in refused.text) == (status, True), f"{text}: {refused.text}"
        if status == 422:
            assert [each["pointer"] for each in refused.json["errors"]] == ["?at"], text
    assert (await stage.ask("GET", f"{path}/explain?as_of=1", status=422)).json["errors"]
    assert (await stage.ask("GET", f"executions/{made.json['id']}/explain", status=404)).json["detail"]
    nobody = f"{'0' * 14}8{made.json['id'][15:]}"
    assert (await asked(stage, f"jobs/{nobody}", status=404)).json["type"] == "/problems/not-found"
    told = await asked(stage, path, position)
    assert told.json["findings"][0]["events"][0]["position"] == position


async def test_of_another_tenant_nothing_is_told(guarded):
    ours = {each: by(await key_of(guarded, "editor", tenant=each)) for each in ("acme", "umbrella")}
    job = (
        await guarded.ask("POST", "jobs", json=JOB | {"queue": "q"}, headers=ours["acme"], status=201)
    ).json
    run = (await guarded.ask("POST", f"jobs/{job['id']}/trigger", headers=ours["acme"], status=201)).json
    for path in (f"jobs/{job['id']}", f"executions/{run['id']}"):
        await asked(guarded, path, headers=ours["acme"])
        assert (await asked(guarded, path, status=404, headers=ours["umbrella"])).json["type"]
        await asked(guarded, path, status=401)


async def test_a_queue_is_shared_and_what_others_run_in_it_is_counted_and_not_shown(guarded):
    ours = {each: by(await key_of(guarded, "editor", tenant=each)) for each in ("acme", "umbrella")}
    runs = {}
    for each, headers in ours.items():
        job = (await guarded.ask("POST", "jobs", json=JOB | {"queue": "q"}, headers=headers, status=201)).json
        runs[each] = (
            await guarded.ask("POST", f"jobs/{job['id']}/trigger", headers=headers, status=201)
        ).json["id"]
    await guarded.deps.decider.decide(
        f"run:{runs['umbrella']}", StartRun(worker="w"), Context(actor="executor")
    )
    await guarded.level()
    told = (await asked(guarded, f"executions/{runs['acme']}", headers=ours["acme"])).json["findings"][-1]
    assert (told["code"], told["details"]["started_meanwhile"], told["details"]["at_work"]) == (
        "in_queue",
        1,
        1,
    )
    assert [each["type"] for each in told["events"]] == ["io.daybook.run.requested"]


async def test_what_retention_has_dropped_is_gone_and_what_is_left_is_told(stage, monkeypatch):
    job = await stage.create(interval_seconds=86_400)
    run = (await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)).json
    early = max(await moment(stage), await moment(stage, 1)).isoformat()
    path = f"jobs/{job['id']}"
    await stage.ask("PATCH", path, json={"description": "new"}, status=200)
    await age(stage, monkeypatch)
    await stage.ask("PATCH", path, json={"description": "newer"}, status=200)
    assert (await asked(stage, path, early, 410)).json["type"] == "/problems/history-gone"
    told = (await asked(stage, path)).json
    assert [each["code"] for each in told["findings"]] == ["created", "active", "revised", "next"]
    assert told["findings"][2]["details"]["revision"] == 3
    told = (await asked(stage, f"executions/{run['id']}")).json
    assert [each["code"] for each in told["findings"]] == ["triggered", "in_queue"]


async def test_of_a_deletion_that_retention_has_dropped_the_time_is_known_still(stage, monkeypatch):
    job = await stage.create(interval_seconds=86_400)
    path = f"jobs/{job['id']}"
    await stage.ask("DELETE", path, status=204)
    deleted = (await asked(stage, path)).json["findings"][-1]
    await age(stage, monkeypatch)
    late = max(await moment(stage), await moment(stage, 1)).isoformat()
    for at in (None, late):
        told = (await asked(stage, path, at)).json
        [found] = [each for each in told["findings"] if each["code"] == "deleted"]
        assert found["events"] == []
        assert told["summary"].startswith("The job was deleted at ")
        assert found["at"][:19] == deleted["at"][:19]


async def test_where_archive_or_redis_lag_behind_no_more_is_claimed_than_is_known(stage, monkeypatch):
    job = await stage.create(interval_seconds=1)
    path = f"jobs/{job['id']}"
    await stage.stop_projector()
    await stage.ask("PATCH", path, json={"name": "new"}, headers={"Prefer": "wait=0"}, status=202)
    await asyncio.sleep(0)
    told = (await asked(stage, path, headers={"Prefer": "wait=0"})).json
    assert Code.REVISED not in [each["code"] for each in told["findings"]]
    assert Code.OVERDUE not in [each["code"] for each in told["findings"]], "of now nothing is known"

    async def away(*_):
        raise ConnectionError("nobody there")

    with monkeypatch.context() as patched:
        patched.setattr(explanations.opening, "look", away)
        patched.setattr(stage.deps.log, "load", away)
        told = (await asked(stage, path)).json
    assert [each["code"] for each in told["findings"]] == ["created", "next"]
    stage.start_projector()
    await stage.level()


async def test_every_code_stands_in_the_document(stage):
    told = json.loads(document("1", KNOWN))["components"]["schemas"]
    assert told["Code"]["enum"] == [each.value for each in Code]
    assert all(f"{code}: " in told["FindingView"]["properties"]["code"]["description"] for code in Code)


# The command.


async def test_the_command_says_why_with_the_positions_of_the_events(stage, daybook):
    made = await stage.ask("POST", "jobs", json=JOB | {"name": "a\x1b[1m"}, status=201)
    job, position = made.json, made.headers["Daybook-Position"]
    shown = (await daybook("explain", job["id"])).stdout
    assert shown.splitlines()[0] == "It has no schedule: it runs when somebody, or a chain, triggers it."
    assert f"(revision 1)  {position}" in shown
    then = await daybook("explain", job["id"], "--at", position, "-o", "json")
    assert json.loads(then.stdout) == (await asked(stage, f"jobs/{job['id']}", position)).json
    run = (await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)).json
    shown = (await daybook("explain", "--run", run["id"])).stdout
    assert shown.startswith("Asked for by anonymous at ")
    early = await daybook("explain", job["id"], "--at", "2026-01-01T00:00:00Z")
    assert "not_created" in early.stdout
    assert (
        "write a time with its offset"
        in (await daybook("explain", job["id"], "--at", "noon", status=1)).stderr
    )
    for words in ((), (job["id"], "--run", run["id"]), ("--run", run["id"], "--at", position)):
        await daybook("explain", *words, status=2)
    assert "daybook explain" in (await daybook("explain", "--help")).stdout


# What it costs.


@pytest.mark.long
async def test_any_time_of_a_job_of_100_000_events_is_explained_within_200_ms(postgres, tmp_path):
    server, clock = shifted_valkey(tmp_path)
    with server:
        async with an_era(postgres, tmp_path, server, clock, "2026-03-02T08:00:00") as era:
            job = await era.creates(cron_expression="* * * * *", overlap_policy="allow")
            times = await _a_long_life(era, job, LONG * 4 // 10)
            await era.be(times[-1] + timedelta(seconds=1))
            took_ms = []
            for at in times[:: len(times) // 50]:
                for text in (at.isoformat(), None):
                    began_s = time.perf_counter()
                    told = await era.explains(job, text)
                    took_ms.append((time.perf_counter() - began_s) * 1000)
                    assert text is None or {Code.SUCCEEDED, Code.OVERLAP} & set(told.codes)
    took_ms.sort()
    print(f"p50 {took_ms[len(took_ms) // 2]:.1f} ms, at most {took_ms[-1]:.1f} ms of {len(took_ms)}")
    assert took_ms[-1] < 200, lasting(took_ms[-1] / 1000)


async def _a_long_life(era, job, count):
    """Tell runs of a job in its archive, one a minute, with the waypoints that a projector leaves; their times."""
    stage, partition = era.stage, ids.partition_of(job["id"])
    await stage.level()
    await stage.stop_projector()
    last = recorded((await archive.events_after(stage.pool, partition, 0, limit=10))[-1])
    state = (await stage.log.load(f"job:{job['id']}"))[f"job:{job['id']}"].state
    first = utc("2026-03-02T08:01:00")
    times = [first + timedelta(minutes=n) for n in range(count)]
    rows, pos = [], last.position.pos
    spec = run_spec(state.spec, tenant=state.tenant)
    for number, at in enumerate(times):
        if number % 4 == 3:
            following = at + timedelta(minutes=1)
            skipped = OccurrencesSkipped(
                from_=at, to=at, count=1, reason="overlap", by="r", next_for=following
            )
            pos += 1
            rows.append(_row(skipped, f"job/{job['id']}", "", pos, last, at, "timer"))
            continue
        run_id = ids.derived_id(at, partition, job["id"], str(ids.to_ms(at)), "schedule")
        requested = RunRequested(
            job_id=job["id"], scheduled_for=at, fires_at=at, trigger="schedule", revision=1, spec=spec, follows=False,
            correlation_id=run_id, requested_at=at, next_for=at + timedelta(minutes=1),
        )  # fmt: skip
        for event, actor in (
            (requested, "timer"),
            (RunStarted(attempt=1, worker="w"), "executor"),
            (RunSucceeded(attempt=1), "executor"),
        ):
            pos += 1
            rows.append(_row(event, f"run/{run_id}", job["id"], pos, last, at, actor))
    connection = await asyncpg.connect(stage.database_url)
    await connection.copy_records_to_table("events", schema_name="book", columns=ARCHIVED, records=rows)
    moved = "update book.checkpoints set pos = $1, at = $2 where partition = $3"
    await connection.execute(moved, pos, times[-1], partition)
    found = [recorded(row) for row in await archive.events_after(connection, partition, 0, limit=10**6)]
    jobs, runs = {}, {}
    passed = waypoints(projections.fold([each for each in found if each.subject != "log"], jobs, runs), 0)
    await connection.execute(statement("save_waypoints"), *columns(passed))
    await connection.execute("analyze book.events, book.waypoints")
    await connection.close()
    return times


def _row(event, subject, job_id, pos, last, at, actor):
    """A row of the archive, as COPY takes it."""
    both = "both" if isinstance(event, RunRequested) else "subject"
    told = {
        "partition": last.partition, "epoch": last.position.epoch, "pos": pos, "id": f"{pos:032x}",
        "type": type(event).__name__, "v": event.VERSION, "subject": subject, "job": job_id, "advances": both,
        "at": at + timedelta(milliseconds=pos % 3), "actor": actor, "cause": "", "corr": "c", "trace": "",
        "data": encode(event), "chain": b"\0" * 32,
    }  # fmt: skip
    return tuple(told[name] for name in ARCHIVED)
