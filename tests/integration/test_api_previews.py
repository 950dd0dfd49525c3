"""POST /schedules/preview and GET /jobs/{id}/next: what is to come, over real Redis and Postgres."""

from datetime import datetime, timedelta

import pytest

from shared.domain import preview
from shared.domain.cron_hash import expanded

from .api_stage import stage_on
from .test_api_auth import by, key_of

BERLIN = {"cron_expression": "30 2 * * *", "timezone": "Europe/Berlin"}


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


async def previewed(stage, **body):
    return (await stage.ask("POST", "schedules/preview", json=body, status=200)).json


def times(answer):
    return [each["scheduled_for"] for each in answer["occurrences"]]


async def test_both_changes_of_the_clocks_are_shown_as_they_will_be(stage):
    spring = await previewed(stage, **BERLIN, **{"from": "2026-03-28T12:00:00+01:00"}, count=1)
    assert spring["occurrences"] == [
        {
            "scheduled_for": "2026-03-29T01:00:00.000Z",
            "local_time": "2026-03-29T03:00:00+02:00",
            "fires_at": "2026-03-29T01:00:00.000Z",
            "rule": "gap_next_valid",
        }
    ]
    skipped = await previewed(
        stage, **BERLIN, **{"from": "2026-03-28T12:00:00Z"}, dst_policy={"gap": "skip"}, count=1
    )
    assert times(skipped) == ["2026-03-30T00:30:00.000Z"]
    dropped = {"at": "2026-03-29T01:00:00.000Z", "local_time": "2026-03-29T02:30:00", "reason": "gap_skip"}
    dropped["by"] = None
    assert skipped["dropped"] == [dropped]
    autumn = await previewed(stage, **BERLIN, **{"from": "2026-10-24T12:00:00Z"}, count=2)
    assert [each["rule"] for each in autumn["occurrences"]] == ["overlap_first", None]
    assert [(each["at"], each["local_time"]) for each in autumn["dropped"]] == [
        ("2026-10-25T01:30:00.000Z", "2026-10-25T02:30:00+01:00")
    ]


async def test_from_is_exclusive_and_the_last_occurrence_leads_to_the_next_ones(stage):
    for schedule in (BERLIN, {"cron_expression": ["0 0 29 2 *", "0 12 * * 1"]}, {"interval_seconds": 90}):
        begin = {"from": "2027-01-01T00:00:00Z"}
        whole = times(await previewed(stage, **schedule, **begin, count=20))
        first = times(await previewed(stage, **schedule, **begin, count=9))
        rest = times(await previewed(stage, **schedule, **{"from": first[-1]}, count=11))
        assert first + rest == whole
        assert len(set(whole)) == 20


async def test_windows_end_a_preview_and_a_schedule_that_never_fires_is_refused(stage):
    ends = {"interval_seconds": 60, "start_at": "2090-01-01T00:00:00Z", "end_at": "2090-01-01T00:02:00Z"}
    assert times(await previewed(stage, **ends)) == [f"2090-01-01T00:0{n}:00.000Z" for n in range(3)]
    assert len(times(await previewed(stage, interval_seconds=60, max_runs=2))) == 2
    once = {"run_at": "2030-01-01T00:00:00Z", "from": "2031-01-01T00:00:00Z"}
    assert times(await previewed(stage, **once)) == []
    for body, pointer in (
        ({"cron_expression": "0 0 30 2 *"}, "#/cron_expression"),
        ({"cron_expression": "0 0 * * *", "timezone": "Europe/Wien"}, "#/timezone"),
        ({"cron_expression": "0 0 * * *", "interval_seconds": 5}, "#/interval_seconds"),
        ({}, "#"),
        ({"timezone": "UTC"}, "#"),
        ({**BERLIN, "from": "1969-01-01T00:00:00Z"}, "#/from"),
        ({**BERLIN, "from": "0001-01-01T00:00:00+14:00"}, "#/from"),
        ({**BERLIN, "count": 1001}, "#/count"),
        ({**BERLIN, "job_id": "x"}, "#/job_id"),
        ({**BERLIN, "name": "a job"}, "#/name"),
    ):
        refused = await stage.ask("POST", "schedules/preview", json=body, status=422)
        assert [each["pointer"] for each in refused.json["errors"]] == [pointer], body
    gone = await stage.ask("POST", "schedules/preview", json={"run_at": "2020-01-01T00:00:00Z"}, status=422)
    assert gone.json["type"] == "/problems/never-fires"


async def test_an_h_is_drawn_as_the_job_that_is_named_draws_it(stage):
    job = await stage.create(cron_expression="H H * * *")
    named = await previewed(stage, cron_expression="H H * * *", job_id=job["id"])
    assert named["cron_expression"] == job["cron_expression"]
    nameless = await previewed(stage, cron_expression=["H H * * *", "0 0 * * *"])
    assert nameless["cron_expression"] == [expanded("H H * * *", ""), "0 0 * * *"]
    assert times(named)[0] == job["next_run_time"]


async def test_a_job_shows_what_it_will_decide_from_its_next_occurrence_on(stage):
    job = await stage.create(**BERLIN, max_runs=3)
    path = f"jobs/{job['id']}/next"
    told = (await stage.ask("GET", path, status=200)).json
    assert (told["job_id"], told["paused"], len(told["occurrences"])) == (job["id"], None, 3)
    assert times(told)[0] == job["next_run_time"]
    after = (await stage.ask("GET", path, query_string={"from": times(told)[1]}, status=200)).json
    assert times(after) == times(told)[2:]  # max_runs counts those before, too
    one = (await stage.ask("GET", path, query_string={"count": 1}, status=200)).json
    assert times(one) == times(told)[:1]
    end = (await stage.ask("GET", path, query_string={"from": times(told)[2]}, status=200)).json
    assert times(end) == []


async def test_what_somebody_skipped_is_shown_as_left_out_and_by_whom(stage):
    job = await stage.create(**BERLIN, jitter_seconds=600, exclude=["2090-01-01"])
    path = f"jobs/{job['id']}"
    first, second, third = (await stage.ask("GET", f"{path}/next?count=3", status=200)).json["occurrences"]
    await stage.ask("POST", f"{path}/skip", json={"scheduled_for": second["scheduled_for"]}, status=200)
    told = (await stage.ask("GET", f"{path}/next?count=2", status=200)).json
    assert told["occurrences"] == [first, third]
    assert told["dropped"] == [
        {
            "at": second["scheduled_for"],
            "local_time": second["local_time"],
            "reason": "skipped",
            "by": "anonymous",
        }
    ]
    assert job["next_run_time"] == first["fires_at"] > first["scheduled_for"]


async def test_excluded_dates_and_jitter_are_part_of_a_preview(stage):
    begin = {"from": "2026-12-23T12:00:00Z"}
    told = await previewed(stage, **BERLIN, **begin, exclude=["2026-12-24"], jitter_seconds=60, count=1)
    assert times(told) == ["2026-12-25T01:30:00.000Z"]
    assert [(each["local_time"], each["reason"]) for each in told["dropped"]] == [
        ("2026-12-24T02:30:00+01:00", "exclude")
    ]
    assert told["occurrences"][0]["fires_at"] > told["occurrences"][0]["scheduled_for"]


async def test_calendars_are_looked_at_as_they_stand_now(stage):
    named = BERLIN | {"exclude_calendars": ["shut"]}
    refused = await stage.ask("POST", "schedules/preview", json=named, status=422)
    assert refused.json["errors"][0]["pointer"] == "#/exclude_calendars/0"
    await stage.ask("PUT", "calendars/shut", json={"dates": ["2026-12-24"]}, status=201)
    told = await previewed(stage, **named, **{"from": "2026-12-23T12:00:00Z"}, count=1)
    left_out = [{"at": "2026-12-24T01:30:00.000Z", "local_time": "2026-12-24T02:30:00+01:00"}]
    assert told["dropped"] == [each | {"reason": "calendar", "by": "shut"} for each in left_out]
    job = await stage.create(**named)
    path = f"jobs/{job['id']}/next?count=2"
    first, _ = times((await stage.ask("GET", path, status=200)).json)
    zone = {"dates": [first[:10]], "timezone": "Europe/Berlin"}
    await stage.ask("PUT", "calendars/shut", json=zone, status=200)
    changed = (await stage.ask("GET", path, status=200)).json
    assert first not in times(changed)
    assert [each["at"] for each in changed["dropped"]] == [first]


async def test_days_that_calendars_leave_nothing_of_are_not_looked_for_without_end(stage):
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    for name in ("one", "two"):
        body = {"weekdays": days[:4] if name == "one" else days[4:]}
        await stage.ask("PUT", f"calendars/{name}", json=body, status=201)
    never = {"interval_seconds": 1, "exclude_calendars": ["one", "two"]}
    refused = await stage.ask("POST", "schedules/preview", json=never, status=422)
    assert "calendars leave out" in refused.json["detail"]


async def test_an_interval_keeps_its_phase_however_far_one_looks(stage):
    job = await stage.create(interval_seconds=7)
    first = datetime.fromisoformat(job["next_run_time"])
    far = first + timedelta(seconds=7 * 1_000_000)
    given = {"from": f"{far - timedelta(milliseconds=1):%Y-%m-%dT%H:%M:%S.%f}Z", "count": 1}
    told = (await stage.ask("GET", f"jobs/{job['id']}/next", query_string=given, status=200)).json
    assert [datetime.fromisoformat(each) for each in times(told)] == [far]


async def test_a_paused_job_shows_what_would_run_and_who_has_paused_it(stage):
    job = await stage.create(**BERLIN)
    path = f"jobs/{job['id']}"
    await stage.ask("POST", f"{path}/pause", json={"reason": "cleaning"}, status=200)
    told = (await stage.ask("GET", f"{path}/next", status=200)).json
    assert (told["paused"]["by"], told["paused"]["reason"]) == ("anonymous", "cleaning")
    assert times(told)[0] == job["next_run_time"]
    assert (await stage.ask("GET", path, status=200)).json["next_run_time"] is None


async def test_a_job_without_a_schedule_has_nothing_to_come_and_a_deleted_one_is_not_there(stage):
    job = await stage.create()
    path = f"jobs/{job['id']}"
    assert times((await stage.ask("GET", f"{path}/next", status=200)).json) == []
    await stage.ask("DELETE", path, status=204)
    await stage.ask("GET", f"{path}/next", status=404)
    await stage.ask("GET", "jobs/x/next", status=404)


async def test_what_is_asked_of_a_job_is_checked(stage):
    job = await stage.create(**BERLIN)
    for query in ("count=0", "count=1001", "count=x", "from=now", "from=1969-01-01T00:00:00Z", "bucket=1h"):
        refused = await stage.ask("GET", f"jobs/{job['id']}/next?{query}", status=422)
        assert refused.json["errors"][0]["pointer"] == f"?{query.partition('=')[0]}", query


async def test_a_time_that_max_runs_would_have_to_be_counted_up_to_is_refused(stage, monkeypatch):
    monkeypatch.setattr(preview, "PASSED_MAX", 3)
    job = await stage.create(interval_seconds=60, max_runs=1_000)
    far = datetime.fromisoformat(job["next_run_time"]) + timedelta(minutes=9)
    path = f"jobs/{job['id']}/next"
    refused = await stage.ask("GET", path, query_string={"from": far.isoformat()}, status=422)
    assert "max_runs" in refused.json["detail"]


async def test_another_tenants_job_is_not_there(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on") as guarded:
        ann, eve = by(await key_of(guarded)), by(await key_of(guarded, tenant="other", owner="eve"))
        job = {"name": "x", "job_type": "custom", "job_data": {"operation": "echo"}, **BERLIN}
        made = (await guarded.ask("POST", "jobs", json=job, headers=ann, status=201)).json
        path = f"jobs/{made['id']}/next"
        await guarded.ask("GET", path, headers=eve, status=404)
        viewer = by(await key_of(guarded, "viewer"))
        assert times((await guarded.ask("GET", path, headers=viewer, status=200)).json)
        await guarded.ask("POST", "schedules/preview", json=BERLIN, headers=viewer, status=200)
