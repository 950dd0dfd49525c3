"""Who asks for what has left the archive is told so; what is still asked for one by one is still there."""

from types import SimpleNamespace

import pytest

from services.api import stream
from shared.domain.commands import FailRun, StartRun, SucceedRun
from shared.domain.events import Failure
from shared.eventlog.position import Position, format_places
from shared.readmodel import cuts
from shared.testing import TESTER
from tests.integration.api_stage import JOB, stage_on
from tests.integration.retention_kit import drop, forget, moment, split
from tests.integration.stream_kit import served
from tests.integration.test_api_auth import SECRET, by, key_of


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def guarded(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on", secret_key=SECRET) as made:
        yield made


async def age(stage, monkeypatch, table="book.events"):
    """Everything until now leaves the archive, or the ledger of runs; return where the archive begins."""
    await stage.level()
    then = await moment(stage)
    await split(stage.pool, table, [then])
    done = await (drop if table == "book.events" else forget)(stage.database_url, then, monkeypatch)
    assert done["partitions_dropped"] == [f"{table}_part0"], done["kept"]
    found = [await cuts.cut_of(stage.pool, partition) for partition in range(stage.partitions)]
    return {cut.partition: Position(cut.epoch, cut.pos) for cut in found if cut}


async def started(stage, job_id):
    """A run that is under way."""
    run = (await stage.ask("POST", f"jobs/{job_id}/trigger", json={}, status=201)).json
    decided = await stage.deps.decider.decide(f"run:{run['id']}", StartRun(worker="w"), TESTER)
    return SimpleNamespace(id=run["id"], fence=decided.after.fence)


async def fails(stage, run):
    """It fails for good; its id."""
    error = Failure(class_="OSError", message="ouch")
    report = FailRun(fence=run.fence, error=error, names=("OSError",), draw=0.5, give_up=True)
    await stage.deps.decider.decide(f"run:{run.id}", report, TESTER)
    return run.id


async def failed(stage, job_id):
    """A run that has failed for good."""
    return await fails(stage, await started(stage, job_id))


async def test_a_place_before_the_archives_beginning_is_gone_and_the_answer_says_where_to_begin(
    stage, monkeypatch
):
    job = await stage.create()
    await stage.level()
    old = (await stage.ask("GET", "events", status=200)).headers["Daybook-Position"]
    await stage.ask("POST", f"jobs/{job['id']}/pause", status=200)
    await stage.ask("POST", f"jobs/{job['id']}/resume", status=200)
    begins = await age(stage, monkeypatch)
    later = await stage.create()
    for place in (old, "0:0-0,1:0-0"):
        gone = await stage.ask("GET", f"events?sort=time&after={place}", status=410)
        assert gone.json["type"] == "/problems/history-gone"
        assert format_places(begins) in gone.json["detail"]
    for path in ("events/stream", f"jobs/{later['id']}/events/stream"):
        await stage.ask("GET", path, headers={"Last-Event-ID": old}, status=410)
    left = await stage.ask("GET", f"events?sort=time&after={format_places(begins)}", status=200)
    assert [each["subject"] for each in left.json["items"]] == [f"job/{later['id']}"]
    assert (await stage.ask("GET", "events", status=200)).json["items"] == left.json["items"]
    await stage.ask("GET", f"jobs?min_position={old}", status=200)


async def test_a_stream_that_is_overtaken_by_a_cut_is_reset_and_passes_nothing_over(stage, monkeypatch):
    """It stands in the midst of what it has missed when that is dropped."""
    await stage.create()
    await stage.level()
    start = (await stage.ask("GET", "events", status=200)).headers["Daybook-Position"]
    for _ in range(5):
        await stage.create()
    await stage.level()
    monkeypatch.setattr(stream, "PAGE", 2)
    asked, begun = stage.deps.ledger.events_chosen, []

    async def overtaken(*args, **kwargs):
        if len(begun) == 1:
            await age(stage, monkeypatch)
        begun.append(1)
        return await asked(*args, **kwargs)

    monkeypatch.setattr(stage.deps.ledger, "events_chosen", overtaken)
    async with served(stage) as server, server.stream(after=start) as client:
        await client.over()
        assert client.types == ["io.daybook.job.created"] * 2 + ["reset"]
        assert client.messages[-1].data["reason"] == "gone"
        again = client.messages[-1].data["position"]
    await stage.ask("GET", f"events/stream?after={again}", status=410)


async def test_revisions_older_than_the_archive_are_there_and_can_be_gone_back_to(stage, monkeypatch):
    job = await stage.create(description="one")
    path = f"jobs/{job['id']}"
    for text in ("two", "three"):
        await stage.ask("PUT", path, json=JOB | {"description": text}, status=200)
    await age(stage, monkeypatch)
    await stage.ask("PUT", path, json=JOB | {"description": "four"}, status=200)
    listed = (await stage.ask("GET", f"{path}/revisions", status=200)).json
    assert [each["revision"] for each in listed["items"]] == [4, 3, 2, 1]
    assert (await stage.ask("GET", f"{path}/revisions/2", status=200)).json["job"]["description"] == "two"
    changes = (await stage.ask("GET", f"{path}/diff?from=1&to=4", status=200)).json["changes"]
    assert len(changes) == 1
    await stage.ask("POST", f"{path}/revert", json={"revision": 1}, status=200)
    assert (await stage.ask("GET", path, status=200)).json["description"] == "one"


async def test_a_job_of_which_nothing_is_left_in_the_archive_is_not_unknown(stage, monkeypatch):
    job = await stage.create()
    run = (await stage.ask("POST", f"jobs/{job['id']}/trigger", json={}, status=201)).json
    await age(stage, monkeypatch)
    assert (await stage.ask("GET", f"jobs/{job['id']}/events", status=200)).json["items"] == []
    assert (await stage.ask("GET", f"executions/{run['id']}/output", status=200)).json["attempts"] == []
    await stage.ask("GET", f"jobs/{run['id']}/events", status=404)


async def test_what_failed_before_the_archive_begins_is_run_again(stage, monkeypatch):
    """Its request is kept, also where it ended only after that; of one that succeeded nothing is needed."""
    job = await stage.create(overlap_policy="allow")
    first = await failed(stage, job["id"])
    under_way = await started(stage, job["id"])
    good = await started(stage, job["id"])
    await stage.deps.decider.decide(f"run:{good.id}", SucceedRun(fence=good.fence), TESTER)
    await age(stage, monkeypatch)
    second = await fails(stage, under_way)
    await stage.level()
    for run_id in (first, second, good.id):
        for partition in range(stage.partitions):
            await stage.redis.delete(stage.log.keys(partition).aggregate(f"run:{run_id}"))
    again = (await stage.ask("POST", f"executions/{first}/retry", json={}, status=201)).json
    assert again["of"] == first
    await stage.ask("POST", f"executions/{good.id}/retry", json={}, status=409)
    driven = (await stage.ask("POST", "executions/redrive", json={}, status=200)).json
    assert [each["of"] for each in driven["retried"]] == [second]


async def test_an_idempotency_key_is_answered_from_redis_as_before(stage, monkeypatch):
    headers = {"Idempotency-Key": "k"}
    made = await stage.ask("POST", "jobs", json=JOB, headers=headers, status=201)
    await age(stage, monkeypatch)
    again = await stage.ask("POST", "jobs", json=JOB, headers=headers, status=201)
    assert again.json["id"] == made.json["id"]


async def test_executions_that_were_deleted_are_not_there_and_their_job_goes_on(stage, monkeypatch):
    job = await stage.create()
    run_id = await failed(stage, job["id"])
    await age(stage, monkeypatch, "ledger.runs")
    await stage.ask("GET", f"executions/{run_id}", status=404)
    assert (await stage.ask("GET", f"jobs/{job['id']}/executions", status=200)).json["items"] == []
    row = (await stage.ask("GET", f"jobs/{job['id']}", status=200)).json
    assert (row["last_run"]["id"], row["last_run"]["status"]) == (run_id, "failed")


# Whose it is to say.

RETENTION = {
    "name": "r", "job_type": "cleanup_task",
    "job_data": {"cleanup_type": "run_history", "retention_days": 90},
}  # fmt: skip


@pytest.mark.parametrize(
    ("role", "tenant", "status"),
    [("admin", "default", 201), ("editor", "default", 403), ("admin", "acme", 403)],
)
@pytest.mark.parametrize("kind", ["run_history", "archive"])
async def test_retention_is_for_admins_of_the_deployments_own_tenant(guarded, kind, role, tenant, status):
    headers = by(await key_of(guarded, role, tenant))
    data = RETENTION["job_data"] | {"cleanup_type": kind}
    answer = await guarded.ask(
        "POST", "jobs", json=RETENTION | {"job_data": data}, headers=headers, status=status
    )
    if status == 403:
        assert "only an admin of the tenant default" in answer.json["detail"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"backup_type": "log"}, 403),
        ({"backup_type": "database"}, 403),
        ({"backup_type": "files", "paths": ["FILES"]}, 201),
    ],
)
async def test_backups_of_what_all_tenants_have_are_for_the_same_admins(guarded, data, status):
    root = str(guarded.settings.files_roots[0])
    paths = {"paths": [f"{root}/in"]} if "paths" in data else {}
    job = {
        "name": "b",
        "job_type": "backup_task",
        "job_data": data | paths | {"destination": f"file://{root}/out"},
    }
    for role, tenant, expected in (
        ("editor", "default", status),
        ("admin", "acme", status),
        ("admin", "default", 201),
    ):
        await guarded.ask(
            "POST", "jobs", json=job, headers=by(await key_of(guarded, role, tenant)), status=expected
        )


async def test_nobody_else_makes_retention_of_what_they_may_change_or_trigger(guarded):
    admin, editor = [by(await key_of(guarded, role, "default")) for role in ("admin", "editor")]
    made = await guarded.ask("POST", "jobs", json=RETENTION, headers=admin, status=201)
    path = f"jobs/{made.json['id']}"
    shorter = {"job_data": {"retention_days": 1}}
    for method, where, body, status in (
        ("PATCH", path, shorter, 403),
        ("PUT", path, RETENTION | {"name": "other"}, 403),
        ("POST", f"{path}/trigger", shorter, 403),
        ("POST", f"{path}/trigger", {}, 201),
    ):
        await guarded.ask(method, where, json=body, headers=editor, status=status)
    files = RETENTION | {
        "job_data": {
            "cleanup_type": "temp_files",
            "retention_days": 7,
            "path": str(guarded.settings.files_roots[0]),
        }
    }
    theirs = await guarded.ask("POST", "jobs", json=files, headers=editor, status=201)
    over = {"job_data": {"cleanup_type": "run_history"}}
    refused = await guarded.ask("POST", f"jobs/{theirs.json['id']}/trigger", json=over, headers=editor)
    assert refused.status == 422  # `path` is no field of it
    bulk = {"operations": [{"op": "create", "job": RETENTION}]}
    answer = await guarded.ask("POST", "jobs/bulk", json=bulk, headers=editor)
    assert [each["status"] for each in answer.json["items"]] == [403]
    applied = {"jobs": [RETENTION], "prune": True}
    refused = await guarded.ask("POST", "apply", json=applied, headers=editor, status=403)
    assert "only an admin of the tenant default" in refused.json["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"cleanup_type": "run_history", "retention_days": 0},
        {"cleanup_type": "archive", "retention_days": 0},
        {"cleanup_type": "run_history", "retention_days": 7, "statuses": ["running"]},
        {"cleanup_type": "run_history", "retention_days": 7, "statuses": []},
        {"cleanup_type": "run_history", "retention_days": 7, "statuses": ["failed", "failed"]},
        {"cleanup_type": "archive", "retention_days": 7, "path": "/"},
        {"cleanup_type": "everything", "retention_days": 7},
        {"cleanup_type": "archive"},
    ],
)
async def test_a_retention_that_is_none_is_refused(stage, wrong):
    await stage.ask("POST", "jobs", json=RETENTION | {"job_data": wrong}, status=422)
