"""Calendars through the API: made, replaced, deleted, named by jobs."""

from datetime import datetime, timedelta

import pytest

from shared.domain import ids
from shared.domain.calendar import ref_of
from shared.domain.commands import Wake
from shared.eventlog.position import parse_places
from shared.testing import TESTER, wait_until

from .api_stage import JOB, stage_on
from .test_api_auth import by, key_of

DAYS = {"dates": ["2026-12-25", {"from": "2026-12-31", "to": "2027-01-01"}], "weekdays": ["sat", "sun"]}
SHOWN = DAYS | {"name": "holidays", "tenant": "default", "description": "", "timezone": None}
TIMES = {"revision", "created_at", "updated_at", "updated_by"}


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def strict(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, require_if_match=True) as made:
        yield made


@pytest.fixture
async def guarded(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on", secret_key="s" * 40) as made:
        yield made


async def put(stage, status, name="holidays", headers=None, **body):
    return await stage.ask(
        "PUT", f"calendars/{name}", json=body or DAYS, headers=headers or {}, status=status
    )


def without_times(shown):
    return {name: told for name, told in shown.items() if name not in TIMES}


async def test_a_calendar_is_made_shown_replaced_and_deleted(stage):
    made = await put(stage, 201)
    assert without_times(made.json) == SHOWN
    assert (made.json["revision"], made.json["updated_by"]) == (1, "anonymous")
    assert made.headers["Location"] == "/api/v1/calendars/holidays"
    got = await stage.ask("GET", "calendars/holidays", status=200)
    assert got.json == made.json
    assert got.headers["ETag"] == made.headers["ETag"]
    await stage.ask("GET", "calendars/holidays", headers={"If-None-Match": got.headers["ETag"]}, status=304)
    again = await put(stage, 200)
    assert again.json == made.json  # nothing to write
    changed = await put(stage, 200, description="of Berlin", timezone="Europe/Berlin")
    assert changed.json["revision"] == 2
    assert (changed.json["dates"], changed.json["weekdays"]) == ([], [])
    assert changed.json["created_at"] == made.json["created_at"]
    listed = (await stage.ask("GET", "calendars", status=200)).json
    assert (listed["items"], listed["total"]) == ([changed.json], 1)
    await stage.ask("DELETE", "calendars/holidays", status=204)
    await stage.ask("GET", "calendars/holidays", status=404)
    await stage.ask("DELETE", "calendars/holidays", status=404)
    assert (await stage.ask("GET", "calendars", status=200)).json["items"] == []
    assert (await put(stage, 201)).json["revision"] == 4


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"dates": ["2026-02-30"]}, "#/dates/0"),
        ({"dates": ["2026-01-01", {"from": "2026-05-02", "to": "2026-05-01"}]}, "#/dates/1"),
        ({"dates": [{"from": "2026-05-02"}]}, "#/dates/0/to"),
        ({"dates": ["9999-12-31"]}, "#/dates/0"),
        ({"dates": ["2026-01-01"] * 1_001}, "#/dates"),
        ({"weekdays": ["sat", "sabbath"]}, "#/weekdays/1"),
        ({"weekdays": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}, "#/weekdays"),
        ({"timezone": "Mars/Base"}, "#/timezone"),
        ({"colour": "red"}, "#/colour"),
    ],
    ids=lambda each: str(each)[:40],
)
async def test_days_that_are_none_are_refused(stage, body, pointer):
    refused = await put(stage, 422, **body)
    assert [each["pointer"] for each in refused.json["errors"]] == [pointer]


async def test_a_name_that_is_none_is_refused_and_not_found(stage):
    for name in ("-a", ".b", "a%20b", "x" * 101):
        assert (await put(stage, 422, name)).json["errors"][0]["pointer"] == "name"
        await stage.ask("GET", f"calendars/{name}", status=404)
        await stage.ask("DELETE", f"calendars/{name}", status=404)


async def test_an_edit_is_for_what_it_was_made_up_from(stage):
    old = (await put(stage, 201)).headers["ETag"]
    new = (await put(stage, 200, headers={"If-Match": old}, weekdays=["sun"])).headers["ETag"]
    for ask in (
        put(stage, 412, headers={"If-Match": old}),
        put(stage, 412, headers={"If-None-Match": "*"}),
        put(stage, 412, "others", headers={"If-Match": "*"}),
    ):
        refused = await ask
        assert refused.json["type"] == "/problems/precondition-failed"
        assert refused.headers.get("ETag") in {new, None}
    await stage.ask("DELETE", "calendars/holidays", headers={"If-Match": old}, status=412)
    await put(stage, 422, headers={"If-None-Match": old})
    await put(stage, 201, "others", headers={"If-None-Match": "*"})
    await put(stage, 200, headers={"If-Match": "*"})
    await stage.ask("DELETE", "calendars/others", headers={"If-Match": "*"}, status=204)


async def test_where_if_match_is_required_one_can_be_made_without_it_and_not_replaced(strict):
    made = await put(strict, 201)
    await put(strict, 428, weekdays=["sun"])
    await strict.ask("DELETE", "calendars/holidays", status=428)
    await put(strict, 200, headers={"If-Match": made.headers["ETag"]}, weekdays=["sun"])


async def test_one_that_a_job_names_is_not_deleted(stage):
    await put(stage, 201)
    job = {"cron_expression": "0 9 * * *", "exclude_calendars": ["holidays"]}
    made = [await stage.create(name=f"job {number}", **job) for number in range(7)]
    assert made[0]["exclude_calendars"] == ["holidays"]
    refused = await stage.ask("DELETE", "calendars/holidays", status=409)
    assert refused.json["type"] == "/problems/in-use"
    assert sum(each["id"] in refused.json["detail"] for each in made) == 5
    assert "and others" in refused.json["detail"]
    for each in made[1:]:
        await stage.ask("DELETE", f"jobs/{each['id']}", status=204)
    refused = await stage.ask("DELETE", "calendars/holidays", status=409)
    assert made[0]["id"] in refused.json["detail"]
    await stage.ask("PATCH", f"jobs/{made[0]['id']}", json={"exclude_calendars": None}, status=200)
    await stage.ask("DELETE", "calendars/holidays", status=204)


async def test_a_job_that_names_what_is_not_there_is_refused_however_it_comes(stage):
    await put(stage, 201)
    job = JOB | {"cron_expression": "0 9 * * *", "exclude_calendars": ["holidays", "fire"]}
    refused = await stage.ask("POST", "jobs", json=job, status=422)
    assert [each["pointer"] for each in refused.json["errors"]] == ["#/exclude_calendars/1"]
    made = await stage.create(cron_expression="0 9 * * *")
    for method, body in (("PUT", job), ("PATCH", {"exclude_calendars": ["fire"]})):
        await stage.ask(method, f"jobs/{made['id']}", json=body, status=422)
    applied = await stage.ask("POST", "apply", json={"jobs": [JOB | {"name": "fine"}, job]}, status=422)
    assert [each["pointer"] for each in applied.json["errors"]] == ["#/jobs/1/exclude_calendars/1"]
    bulk = await stage.ask(
        "POST", "jobs/bulk", json={"operations": [{"op": "create", "job": job}]}, status=200
    )
    assert bulk.json["items"][0]["problem"]["status"] == 422
    names = [each["name"] for each in (await stage.ask("GET", "jobs", status=200)).json["items"]]
    assert names == ["a job"]


async def test_calendars_go_with_a_schedule(stage):
    await put(stage, 201)
    refused = await stage.ask("POST", "jobs", json=JOB | {"exclude_calendars": ["holidays"]}, status=422)
    assert [each["pointer"] for each in refused.json["errors"]] == ["#/exclude_calendars"]


async def test_a_job_goes_by_the_calendar_as_it_is_when_its_time_has_come(stage):
    """Made while the calendar had no days: so what is announced knows of none."""
    await put(stage, 201, description="none yet")
    job = await stage.create(
        run_at=(stage.log.now() + timedelta(milliseconds=50)).isoformat(), exclude_calendars=["holidays"]
    )
    today = stage.log.now().date()
    days = {"dates": [{"from": str(today), "to": str(today + timedelta(days=1))}]}
    changed = await put(stage, 200, **days)
    await wait_until(lambda: stage.log.now() >= datetime.fromisoformat(job["run_at"]), "its time has come")
    await stage.deps.decider.decide(f"job:{job['id']}", Wake(), TESTER)
    await stage.level()
    events = (await stage.ask("GET", f"jobs/{job['id']}/events", status=200)).json["items"]
    skipped = next(each for each in events if each["type"] == "io.daybook.occurrences.skipped")
    ((partition, position),) = parse_places(
        changed.headers["Daybook-Position"], partitions=stage.partitions
    ).items()
    assert skipped["data"]["reason"] == "calendar"
    assert skipped["data"]["by"] == f"holidays@{partition}:{position}"


async def test_calendars_are_their_tenants(guarded):
    acme, bits = [by(await key_of(guarded, role="editor", tenant=each)) for each in ("acme", "bits")]
    await put(guarded, 201, headers=acme)
    for method in ("GET", "DELETE"):
        await guarded.ask(method, "calendars/holidays", headers=bits, status=404)
    assert (await guarded.ask("GET", "calendars", headers=bits, status=200)).json["items"] == []
    job = JOB | {"cron_expression": "0 9 * * *", "exclude_calendars": ["holidays"]}
    await guarded.ask("POST", "jobs", json=job, headers=bits, status=422)
    await guarded.ask("POST", "jobs", json=job, headers=acme, status=201)
    theirs = await put(guarded, 201, headers=bits)
    assert (theirs.json["tenant"], theirs.json["revision"]) == ("bits", 1)
    await guarded.ask("DELETE", "calendars/holidays", headers=bits, status=204)
    viewer = by(await key_of(guarded, role="viewer", tenant="acme"))
    await guarded.ask("GET", "calendars/holidays", headers=viewer, status=200)
    await put(guarded, 403, headers=viewer)
    told = (await guarded.ask("GET", "events", headers=acme, status=200)).json["items"]
    assert [each["subject"] for each in told if each["type"] == "io.daybook.calendar.changed"] == [
        "calendar/acme:holidays"
    ]


async def test_calendars_come_back_with_a_rebuilt_log(stage):
    await put(stage, 201)
    await put(stage, 201, "gone")
    await stage.ask("DELETE", "calendars/gone", status=204)
    await stage.level()
    refs = [ref_of("default", name) for name in ("holidays", "gone")]
    before = await stage.log.load(*refs)
    for partition in range(stage.partitions):
        keys = [key async for key in stage.redis.scan_iter(match=f"{stage.log.keys(partition).base}:*")]
        await stage.redis.delete(*(key for key in keys if b":lease:" not in key))
        await stage.reopen(partition)
    after = await stage.log.load(*refs)
    assert after == before
    assert [after[ref].state.deleted for ref in refs] == [False, True]
    assert ids.to_ms(after[refs[0]].state.created_at)
