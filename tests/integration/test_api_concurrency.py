"""Edits of a job that was edited meanwhile, patches, and who has changed what."""

import asyncio

import pytest

from shared.domain.commands import UpdateJob
from shared.job_types import Catalog
from shared.testing import TESTER, a_spec

from .api_stage import JOB, stage_on


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


async def _made(stage, **changes):
    return await stage.ask("POST", "jobs", json=JOB | changes, status=201)


def _if_match(etag):
    return {"headers": {"If-Match": etag}}


async def _revision(stage, job_id):
    return (await stage.ask("GET", f"jobs/{job_id}", status=200)).json["revision"]


async def test_who_has_the_job_already_is_not_sent_it_again(stage):
    made = await _made(stage, interval_seconds=3600)
    path, etag = f"jobs/{made.json['id']}", made.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        same = await stage.ask("GET", path, headers={"If-None-Match": known}, status=304)
        assert (same.text, same.headers["ETag"]) == ("", etag)
    await stage.ask("POST", f"{path}/pause", status=200)  # no new revision, but another job to look at
    seen = await stage.ask("GET", path, headers={"If-None-Match": etag}, status=200)
    assert (seen.json["status"], seen.json["revision"]) == ("paused", 1)
    assert seen.headers["ETag"] != etag


CHANGES = [
    ("PUT", "", {"json": JOB | {"name": "new"}}),
    ("PATCH", "", {"json": {"name": "new"}}),
    ("DELETE", "", {}),
    ("POST", "/pause", {}),
    ("POST", "/resume", {}),
    ("POST", "/trigger", {}),
    ("POST", "/revert", {"json": {"revision": 1}}),
]


@pytest.mark.parametrize(
    ("method", "where", "sent"), CHANGES, ids=[f"{each[0]}{each[1]}" for each in CHANGES]
)
async def test_a_change_made_up_from_an_old_revision_is_refused_with_the_present_one(
    stage, method, where, sent
):
    made = await _made(stage, interval_seconds=3600)
    path = f"jobs/{made.json['id']}"
    edited = await stage.ask("PUT", path, json=JOB | {"interval_seconds": 60}, status=200)
    before = await stage.contents()
    for stale in (made.headers["ETag"], '"1"', '"x"', f"W/{edited.headers['ETag']}"):
        refused = await stage.ask(method, f"{path}{where}", **sent, **_if_match(stale), status=412)
        assert (refused.json["type"], refused.json["current"]) == ("/problems/precondition-failed", "2")
        assert refused.headers["ETag"] == edited.headers["ETag"]
    assert await stage.contents() == before
    answer = await stage.ask(method, f"{path}{where}", **sent, **_if_match(f'"x", {edited.headers["ETag"]}'))
    assert answer.status in {200, 201, 204}


async def test_any_revision_will_do_if_the_client_says_so(stage):
    made = await _made(stage)
    await stage.ask(
        "PUT", f"jobs/{made.json['id']}", json=JOB | {"name": "new"}, **_if_match("*"), status=200
    )


async def test_of_two_clients_that_edit_at_once_one_is_refused(stage):
    made = await _made(stage)
    path, sent = f"jobs/{made.json['id']}", _if_match(made.headers["ETag"])
    answers = await asyncio.gather(
        *(stage.ask("PUT", path, json=JOB | {"name": f"mine {number}"}, **sent) for number in range(8))
    )
    assert sorted(each.status for each in answers) == [200] + [412] * 7
    (won,) = [each for each in answers if each.status == 200]
    seen = (await stage.ask("GET", path)).json
    assert (seen["name"], seen["revision"]) == (won.json["name"], 2)
    assert {each.json["current"] for each in answers if each.status == 412} == {"2"}


async def test_the_revision_is_compared_where_it_is_decided(stage, monkeypatch):
    """Somebody else's edit comes between the load and the commit: the conflict is decided again, and refused."""
    made = await _made(stage)
    job_id, sent = made.json["id"], _if_match(made.headers["ETag"])
    real, others = stage.log.commit, []

    async def overtaken(partition, unit):
        if not others:
            others.append(True)
            await stage.deps.decider.decide(f"job:{job_id}", UpdateJob(spec=a_spec()), TESTER)
        return await real(partition, unit)

    monkeypatch.setattr(stage.log, "commit", overtaken)
    refused = await stage.ask("PUT", f"jobs/{job_id}", json=JOB | {"name": "mine"}, **sent, status=412)
    assert (refused.json["current"], len(others)) == ("2", 1)


async def test_edits_can_be_made_to_say_what_they_were_made_up_from(stage):
    made = await _made(stage, interval_seconds=3600)
    path = f"jobs/{made.json['id']}"
    object.__setattr__(stage.deps, "settings", stage.settings.model_copy(update={"require_if_match": True}))
    before = await stage.contents()
    for method, where, sent in CHANGES:
        if where in {"", "/revert"}:
            refused = await stage.ask(method, f"{path}{where}", **sent, status=428)
            assert refused.json["type"] == "/problems/precondition-required"
    assert await stage.contents() == before
    await stage.ask("POST", f"{path}/pause", status=200)
    await stage.ask("PUT", path, json=JOB, **_if_match(made.headers["ETag"]), status=200)


# PATCH.


@pytest.mark.parametrize("kind", ["application/merge-patch+json", "application/json"])
async def test_a_patch_changes_what_it_names(stage, kind):
    made = await _made(
        stage, description="old", interval_seconds=60, tags=["a"], retry_backoff={"multiplier": 3}
    )
    path = f"jobs/{made.json['id']}"
    patch = '{"description": null, "tags": ["b"], "retry_backoff": {"jitter": 0}, "job_data": {"parameters": {"m": 2}}}'
    done = await stage.ask("PATCH", path, data=patch, headers={"Content-Type": kind}, status=200)
    same = {"updated_at", "revision"}
    assert {k: v for k, v in done.json.items() if k not in same} == {
        k: v for k, v in made.json.items() if k not in same
    } | {
        "description": "", "tags": ["b"],
        "retry_backoff": {"initial_seconds": 1, "multiplier": 3, "max_seconds": 300, "jitter": 0},
        "job_data": {"operation": "echo", "parameters": {"n": 1, "m": 2}},
    }  # fmt: skip
    assert done.json["revision"] == 2
    seen = await stage.ask("GET", path)
    assert (seen.json, seen.headers["ETag"]) == (done.json, done.headers["ETag"])


async def test_a_patch_moves_a_job_to_another_kind_of_schedule(stage):
    made = await _made(stage, cron_expression="0 9 * * 1")
    path = f"jobs/{made.json['id']}"
    refused = await stage.ask("PATCH", path, json={"interval_seconds": 60}, status=422)
    assert refused.json["errors"][0]["pointer"] == "#/interval_seconds"
    done = await stage.ask("PATCH", path, json={"interval_seconds": 60, "cron_expression": None}, status=200)
    assert (done.json["interval_seconds"], done.json["cron_expression"]) == (60, None)


async def test_a_patch_that_changes_nothing_writes_nothing(stage):
    made = await _made(stage, interval_seconds=60, description="x")
    before = await stage.contents()
    for patch in ({}, {"description": "x"}, {"queue": None}):
        same = await stage.ask("PATCH", f"jobs/{made.json['id']}", json=patch, status=200)
        assert (same.json, same.headers["ETag"]) == (made.json, made.headers["ETag"])
    assert await stage.contents() == before


async def test_patches_of_different_fields_at_once_all_stand(stage):
    made = await _made(stage)
    path = f"jobs/{made.json['id']}"
    patches = [{"name": "new"}, {"description": "new"}, {"priority": 9}, {"queue": "other"}]
    for _ in range(3):
        await asyncio.gather(*(stage.ask("PATCH", path, json=each, status=200) for each in patches))
        seen = (await stage.ask("GET", path)).json
        assert {name: seen[name] for each in patches for name in each} == {
            name: value for each in patches for name, value in each.items()
        }
        await stage.ask("PUT", path, json=JOB, status=200)


async def test_a_job_type_stays_what_it_is(stage, tmp_path):
    made = await _made(stage)
    body = {
        "job_type": "cleanup_task",
        "job_data": {
            "cleanup_type": "temp_files", "retention_days": 7, "path": str(tmp_path),
            "operation": None, "parameters": None,
        },
    }  # fmt: skip
    refused = await stage.ask("PATCH", f"jobs/{made.json['id']}", json=body, status=409)
    assert "fixed" in refused.json["detail"]


async def test_a_null_schedule_is_none(stage):
    made = await _made(stage, cron_expression=None, interval_seconds=None, run_at=None)
    assert made.json["next_run_time"] is None


# Revisions.


async def test_every_edit_can_be_read_later_also_of_a_deleted_job(stage):
    made = await _made(stage, interval_seconds=60)
    path = f"jobs/{made.json['id']}"
    await stage.ask("PATCH", path, json={"description": "second"}, status=200)
    await stage.ask("POST", f"{path}/pause", status=200)
    third = await stage.ask("PATCH", path, json={"job_data": {"parameters": {"n": 2, "x/y": 1}}}, status=200)
    for _ in range(2):
        listed = (await stage.ask("GET", f"{path}/revisions?per_page=2", status=200)).json
        told = [(each["revision"], each["by"], each["type"]) for each in listed["items"]]
        assert told == [
            (3, "anonymous", "io.daybook.job.updated"),
            (2, "anonymous", "io.daybook.job.updated"),
        ]
        assert (listed["total"], listed["items"][0]["at"]) == (3, third.json["updated_at"])
        (first,) = (await stage.ask("GET", f"{path}/revisions?per_page=2&page=2", status=200)).json["items"]
        assert (first["revision"], first["type"]) == (1, "io.daybook.job.created")
        one = (await stage.ask("GET", f"{path}/revisions/1", status=200)).json
        assert {name: one[name] for name in first} == first
        assert one["job"] == {name: made.json[name] for name in one["job"]}
        diff = (await stage.ask("GET", f"{path}/diff?from=1&to=3", status=200)).json
        assert diff == {
            "from": 1,
            "to": 3,
            "changes": [
                {"pointer": "/description", "from": "", "to": "second"},
                {"pointer": "/job_data/parameters/n", "from": 1, "to": 2},
                {"pointer": "/job_data/parameters/x~1y", "to": 1},
            ],
        }
        await stage.ask("DELETE", path)
    await stage.ask("POST", f"{path}/revert", json={"revision": 1}, status=404)


async def test_a_revision_can_be_sent_as_it_is_read(stage):
    made = await _made(stage, cron_expression="0 9 * * 1", tags=["a"], timeout_seconds=5)
    path = f"jobs/{made.json['id']}"
    job = (await stage.ask("GET", f"{path}/revisions/1", status=200)).json["job"]
    same = await stage.ask("PUT", path, json=job, status=200)
    assert (same.json, same.headers["ETag"]) == (made.json, made.headers["ETag"])


async def test_a_job_can_be_made_as_it_was(stage):
    made = await _made(stage, description="first", interval_seconds=60)
    path = f"jobs/{made.json['id']}"
    edited = await stage.ask("PUT", path, json=JOB | {"name": "second"}, status=200)
    back = await stage.ask(
        "POST", f"{path}/revert", json={"revision": 1}, **_if_match(edited.headers["ETag"]), status=200
    )
    assert (back.json["name"], back.json["description"], back.json["revision"]) == ("a job", "first", 3)
    assert (await stage.ask("GET", f"{path}/diff?from=1&to=3", status=200)).json["changes"] == []
    newest = (await stage.ask("GET", f"{path}/revisions?per_page=1", status=200)).json["items"][0]
    assert (newest["revision"], newest["by"], newest["at"]) == (3, "anonymous", back.json["updated_at"])
    again = await stage.ask("POST", f"{path}/revert", json={"revision": 3}, status=200)
    assert again.json == back.json


async def test_a_revert_is_checked_like_any_edit(stage, tmp_path):
    body = {
        "name": "tidy", "job_type": "cleanup_task",
        "job_data": {"cleanup_type": "temp_files", "retention_days": 7, "path": str(tmp_path)},
    }  # fmt: skip
    made = await stage.ask("POST", "jobs", json=body, status=201)
    path = f"jobs/{made.json['id']}"
    await stage.ask("PATCH", path, json={"description": "new"}, status=200)
    object.__setattr__(stage.deps, "catalog", Catalog(files_roots=(tmp_path / "elsewhere",)))
    refused = await stage.ask("POST", f"{path}/revert", json={"revision": 1}, status=422)
    assert refused.json["errors"][0]["pointer"] == "#/job_data/path"
    assert await _revision(stage, made.json["id"]) == 2
