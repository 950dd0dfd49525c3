"""Personal data through the API: shown to whoever may read the job, and found nowhere in what is kept."""

import json
from typing import Annotated

import pytest
from pydantic import BaseModel

from shared.domain.commands import FailRun, Output, StartRun, SucceedRun
from shared.domain.events import Failure
from shared.handlers import Personal
from shared.job_types import of_plugins
from shared.job_types import plugins as plugged
from shared.personal.sealing import ERROR, KEY, OUTPUT, RESULT, Place, has_sealed, seal, seal_text
from shared.readmodel import archive
from shared.testing import TESTER
from tests.integration import api_stage
from tests.integration.api_stage import JOB, stage_on
from tests.integration.cold_kit import at, daybook
from tests.integration.personal_kit import MAIL, MARKER, a_mail, applied, key, person, places_of


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, **MAIL) as made:
        yield made


async def the_run(stage, run_id):
    return (await stage.log.load(f"run:{run_id}"))[f"run:{run_id}"].state


async def shown(stage, path, expected):
    await stage.level()
    got = (await stage.ask("GET", path, status=200)).json
    assert expected in json.dumps(got, ensure_ascii=False), path
    assert KEY not in json.dumps(got), path
    return got


async def ended(stage, run_id, *, well=True, told=MARKER):
    """Run it as an executor does, which seals all that the run says."""
    run = await the_run(stage, run_id)
    secret = (await stage.deps.personal.of([run.job_id]))[run.job_id]
    decide, ref = stage.deps.decider.decide, f"run:{run_id}"
    fence = (await decide(ref, StartRun(worker="w"), TESTER)).after.fence
    output = Output(text=seal_text(f"said {told}\n", secret, Place(run.job_id, OUTPUT)))
    if well:
        result = seal({"accepted": [told]}, secret, Place(run.job_id, RESULT))
        report = SucceedRun(fence=fence, result=result, output=output)
    else:
        said = seal_text(f"no such {told}", secret, Place(run.job_id, ERROR))
        report = FailRun(
            fence=fence, error=Failure(class_="OSError", message=said), names=("OSError",), draw=0.5,
            give_up=True, output=output,
        )  # fmt: skip
    await decide(ref, report, TESTER)


async def test_what_is_personal_is_shown_and_stands_nowhere_by_whichever_way_it_came(stage, tmp_path, capfd):
    """The promise, whole: each way in, each view out, then a search through everything that is kept."""
    made = (await stage.ask("POST", "jobs", json=a_mail("post"), headers=key("k-1"), status=201)).json
    job_id, path = made["id"], f"jobs/{made['id']}"
    assert a_mail("post")["job_data"] == made["job_data"]
    assert made["job_data"] == (await shown(stage, path, MARKER))["job_data"]
    again = await stage.ask("POST", "jobs", json=a_mail("post"), headers=key("k-1"), status=201)
    assert made == again.json

    put = a_mail("put", interval_seconds=3600, start_at="2026-01-01T00:00:00Z")
    assert put["job_data"] == (await stage.ask("PUT", path, json=put, status=200)).json["job_data"]
    patch = {"job_data": {"recipient": person("patch"), "body": None}}
    patched = (await stage.ask("PATCH", path, json=patch, status=200)).json
    assert put["job_data"] | {"recipient": person("patch")} == {
        **patched["job_data"],
        "body": put["job_data"]["body"],
    }
    await stage.level()
    reverted = await stage.ask("POST", f"{path}/revert", json={"revision": 1}, headers=key("k-2"), status=200)
    assert made["job_data"] == reverted.json["job_data"]

    await by_bulk(stage)
    await by_apply(stage)
    await by_runs(stage, job_id)
    await by_views(stage, job_id)

    await stage.level()
    await archive.record_deployment(stage.pool, partitions=stage.partitions, prefix=stage.prefix)
    await daybook(
        "archive", "export", "--to", tmp_path / "cold", "--compression", "none", **at(stage.database_url)
    )
    assert await places_of(stage, MARKER, tmp_path / "cold") == []
    said = capfd.readouterr()
    assert MARKER not in said.out + said.err
    assert len(await places_of(stage, "mail post", tmp_path / "cold")) > 4, "the search does find"


async def by_bulk(stage):
    created = {"op": "create", "job": a_mail("bulk")}
    wrong = {"op": "create", "job": a_mail("wrong", job_data={"recipient": f"{MARKER} is no address"})}
    body = {"operations": [created, wrong]}
    for _ in ("done", "done again"):
        answer = (await stage.ask("POST", "jobs/bulk", json=body, headers=key("k-3"))).json
        assert [each["status"] for each in answer["items"]] == [201, 422]
        assert a_mail("bulk")["job_data"] == answer["items"][0]["job"]["job_data"]
    job_id = answer["items"][0]["job"]["id"]
    update = {"op": "update", "id": job_id, "job": {"job_data": {"cc": [person("bulk-update")]}}}
    trigger = {"op": "trigger", "id": job_id, "job_data": {"bcc": [person("bulk-trigger")]}}
    body = {"operations": [update, trigger]}
    answer = (await stage.ask("POST", "jobs/bulk", json=body, headers=key("k-4"), status=200)).json
    assert [person("bulk-update")] == answer["items"][0]["job"]["job_data"]["cc"]
    run = await the_run(stage, answer["items"][1]["execution"]["id"])
    assert all(has_sealed(run.spec.job_data[field]) for field in ("recipient", "cc", "bcc", "body"))


async def by_apply(stage):
    job = a_mail("apply")
    assert await the_actions(stage, [job], dry_run=True) == ["create"]
    assert await the_actions(stage, [job], headers=key("k-5")) == ["create"]
    assert await the_actions(stage, [job]) == ["unchanged"], "the same is sealed alike"
    other = a_mail("apply") | {"job_data": job["job_data"] | {"recipient": person("apply-2")}}
    expected = [{"pointer": "/job_data/recipient", "from": person("apply"), "to": person("apply-2")}]
    for options in ({"dry_run": True}, {"headers": key("k-6")}, {"headers": key("k-6")}):
        assert expected == await the_changes(stage, [other], **options)


async def the_actions(stage, jobs, **options):
    return [item["action"] for item in (await applied(stage, jobs, **options))["items"]]


async def the_changes(stage, jobs, **options):
    return (await applied(stage, jobs, **options))["items"][0]["changes"]


async def by_runs(stage, job_id):
    over = {"job_data": {"bcc": [person("trigger")]}}
    asked = ("POST", f"jobs/{job_id}/trigger")
    first = (await stage.ask(*asked, json=over, headers=key("k-7"), status=201)).json["id"]
    await ended(stage, first, well=False)
    over = {"job_data": {"cc": [person("retry")]}}
    retry = (await stage.ask("POST", f"executions/{first}/retry", json=over, status=201)).json["id"]
    run = await the_run(stage, retry)
    secret = (await stage.deps.personal.of([job_id]))[job_id]
    assert seal([person("retry")], secret, Place(job_id, "job_data/cc")) == run.spec.job_data["cc"]
    assert seal([person("trigger")], secret, Place(job_id, "job_data/bcc")) == run.spec.job_data["bcc"]
    await ended(stage, retry, well=True)
    await shown(stage, f"executions/{retry}", MARKER)
    await shown(stage, f"executions/{retry}/output", MARKER)
    await shown(stage, f"executions/{first}", MARKER)
    await shown(stage, f"jobs/{job_id}/executions", MARKER)
    await shown(stage, "executions", MARKER)
    await shown(stage, "stats/errors", MARKER)
    second = (await stage.ask(*asked, status=201)).json["id"]
    await ended(stage, second, well=False)
    await stage.level()
    body = {"filter": {"job_id": job_id}, "limit": 10}
    done = (await stage.ask("POST", "executions/redrive", json=body, headers=key("k-8"), status=200)).json
    assert [second] == [each["of"] for each in done["retried"]]
    many = {"interval_seconds": 3600, "start_at": "2026-01-01T00:00:00Z"}
    await stage.ask("PATCH", f"jobs/{job_id}", json=many, status=200)
    span = {"which": "all", "from": "2026-01-02T00:00:00Z", "to": "2026-01-02T03:00:00Z"}
    over = span | {"job_data": {"reply_to": person("backfill")}}
    await stage.ask("POST", f"jobs/{job_id}/backfill", json=over, headers=key("k-9"), status=201)


async def by_views(stage, job_id):
    path = f"jobs/{job_id}"
    await shown(stage, "jobs", MARKER)
    await shown(stage, "jobs?limit=5", MARKER)
    await shown(stage, f"{path}/revisions/2", person("put"))
    await shown(stage, f"{path}/diff?from=1&to=2", person("put"))
    now = stage.log.now().isoformat().replace("+00:00", "Z")
    await shown(stage, f"{path}?as_of={now}", MARKER)
    await shown(stage, f"jobs?as_of={now}", MARKER)
    for records in ("events", f"{path}/events"):
        told = await stage.ask("GET", records, status=200)
        assert KEY in told.text
        assert MARKER not in told.text


async def test_an_edit_that_changes_nothing_of_what_is_sealed_is_none(stage):
    made = await stage.create(**a_mail("same"))
    path = f"jobs/{made['id']}"
    for body in (a_mail("same"), a_mail("same")):
        assert (await stage.ask("PUT", path, json=body, status=200)).json["revision"] == 1
    same = {"job_data": {"recipient": person("same")}}
    assert (await stage.ask("PATCH", path, json=same, status=200)).json["revision"] == 1


async def test_a_patch_goes_into_what_is_sealed(stage):
    data = {"recipient": person("x"), "template": "notice", "context": {"a": 1, "b": {"c": 2}}}
    made = await stage.create(**a_mail("x", job_data=data))
    patch = {"job_data": {"context": {"b": {"d": 3}, "a": None}}}
    got = (await stage.ask("PATCH", f"jobs/{made['id']}", json=patch, status=200)).json
    assert data | {"context": {"b": {"c": 2, "d": 3}}} == got["job_data"]


@pytest.mark.parametrize(
    ("where", "data"),
    [
        ("#/job_data/recipient", {"recipient": {"$personal": "AQ"}}),
        ("#/job_data/recipient", {"recipient": {"$erased": True}}),
        ("#/job_data/context/a/0", {"recipient": "a@b.de", "context": {"a": [{"$personal": "AQ"}]}}),
    ],
    ids=["sealed", "erased", "within"],
)
async def test_nobody_writes_what_only_we_do(stage, where, data):
    refused = await stage.ask("POST", "jobs", json=a_mail("x", job_data=data), status=422)
    assert where in [each["pointer"] for each in refused.json["errors"]]
    plain = {"operation": "echo", "parameters": data}
    refused = await stage.ask("POST", "jobs", json=JOB | {"job_data": plain}, status=422)
    assert where.replace("job_data", "job_data/parameters") in [e["pointer"] for e in refused.json["errors"]]
    made = await stage.create(**a_mail("x"))
    await stage.ask("PATCH", f"jobs/{made['id']}", json={"job_data": data}, status=422)
    await stage.ask("POST", f"jobs/{made['id']}/trigger", json={"job_data": data}, status=422)


async def test_data_is_measured_as_it_was_written_and_once_it_is_sealed(stage):
    """64 KB of text may be sealed to more; what takes an event to its limit is refused by name."""
    body = "x" * 50_000
    whole = a_mail("big", job_data={"recipient": "a@b.de", "body": body, "subject": "y" * 500})
    made = await stage.create(**whole)
    assert body == made["job_data"]["body"]
    too_much = {"recipient": "a@b.de", "body": body, "html": "h" * 16_000}
    refused = await stage.ask("POST", "jobs", json=a_mail("big", job_data=too_much), status=422)
    assert "65536 is the limit" in refused.json["detail"]


class Letters(BaseModel):
    """Of which each is sealed by itself."""

    to: list[Annotated[str, Personal]]


async def write(run):
    """Write letters."""


write.model = Letters


async def test_what_a_plug_in_marks_is_sealed_one_by_one_as_far_as_an_event_has_room(
    valkey, postgres, tmp_path, monkeypatch
):
    known = of_plugins({"write": plugged.of("write", write, "theirs")})
    monkeypatch.setattr(api_stage, "KNOWN", known)
    async with stage_on(valkey, postgres, tmp_path) as stage:
        for job_type, of in (("write", lambda to: {"to": to}), ("custom", operation_of)):
            told = {"name": "n", "job_type": job_type, "job_data": of([person("a"), person("b")])}
            made = await stage.create(**told)
            assert told["job_data"] == made["job_data"]
            told["job_data"] = of(["a"] * 2_000)
            refused = await stage.ask("POST", "jobs", json=told, status=422)
            assert "96 KB" in refused.json["errors"][0]["detail"]
        await stage.level()
        assert await places_of(stage, MARKER) == []
        types = (await stage.ask("GET", "job-types", status=200)).json["items"]
        schema = next(each["schema"] for each in types if each["name"] == "write")
        assert schema["properties"]["to"]["items"]["x-personal"] is True


def operation_of(to):
    return {"operation": "write", "parameters": {"to": to}}
