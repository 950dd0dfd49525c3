"""GET /forecast: what is to run over all jobs, and how long it takes, over real Redis and Postgres."""

from datetime import UTC, datetime, timedelta

import pytest

from services.api import forecasts
from shared.domain import forecast, ids
from shared.testing import chance

from .api_stage import JOB, stage_on
from .test_api_auth import by, key_of

DAY = {"from": "2090-01-01T00:00:00Z", "to": "2090-01-02T00:00:00Z"}
START = datetime(2090, 1, 1, tzinfo=UTC)


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


async def foretold(stage, **query):
    await stage.level()
    return (await stage.ask("GET", "forecast", query_string=DAY | query, status=200)).json


def counts(answer):
    return [each["occurrences"] for each in answer["buckets"]]


async def ran(stage, job, *durations_ms):
    """Runs of a job that have ended, as the ledger has them."""
    for number, duration_ms in enumerate(durations_ms):
        run_at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=number)
        run_id = ids.chance_id(run_at, 0, chance())
        await stage.pool.execute(
            """
            insert into ledger.runs
                (id, id_at, partition, job_id, job_name, job_type, tenant, status, trigger, revision, queue, priority,
                attempt, max_attempts, scheduled_for, fires_at, duration_ms, correlation_id, attempts, epoch, pos)
            values
                ($1, $2, 0, $3, 'a job', 'custom', 'default', 'succeeded', 'schedule', 1, 'default', 5,
                1, 4, $2, $2, $4, 'c', '[]', 1, 1)
            """,
            run_id, ids.time_of(run_id), job["id"], duration_ms,
        )  # fmt: skip


async def test_a_night_of_jobs_is_foretold_bucket_by_bucket(stage):
    for _ in range(3):
        await stage.create(cron_expression="30 2 * * *")
    await stage.create(interval_seconds=7_200, start_at="2090-01-01T01:00:00Z", end_at="2090-01-01T05:00:00Z")
    await stage.create(run_at="2090-01-01T02:00:00+00:00")
    paused = await stage.create(cron_expression="* * * * *")
    await stage.ask("POST", f"jobs/{paused['id']}/pause", status=200)
    gone = await stage.create(cron_expression="* * * * *")
    await stage.ask("DELETE", f"jobs/{gone['id']}", status=204)
    await stage.create()
    told = await foretold(stage, bucket="1h")
    assert counts(told) == [0, 1, 4, 1, 0, 1] + [0] * 18
    assert (told["jobs"], told["bucket_seconds"], told["unmeasured_jobs"]) == (5, 3600, 5)
    assert [each["from"] for each in told["buckets"][:2]] == [
        "2090-01-01T00:00:00.000Z",
        "2090-01-01T01:00:00.000Z",
    ]
    assert counts(await foretold(stage, bucket="300m")) == [6, 1, 0, 0, 0]
    assert counts(await foretold(stage, bucket="1d", to="2090-01-03T02:31:00Z")) == [7, 3, 3]


async def test_work_is_foretold_from_a_jobs_last_runs_else_from_those_of_its_type(stage):
    mine = await stage.create(cron_expression="0 12 * * *")
    await stage.create(cron_expression="0 13 * * *")
    await ran(stage, mine, 3_600_000, *[1_800_000] * 5)
    told = await foretold(stage, bucket="1h")
    noon, one = told["buckets"][12:14]
    assert (noon["work_seconds"], noon["concurrency"]) == (
        1_800,
        0.5,
    )  # the sixth last doesn't count any more
    assert (one["work_seconds"], one["occurrences"]) == (2_100, 1)
    assert (told["durations"], told["unmeasured_jobs"]) == ("job", 0)


async def test_of_very_many_jobs_only_types_are_looked_at(stage, monkeypatch):
    monkeypatch.setattr(forecasts, "BY_JOB_MAX", 1)
    mine, _ = [await stage.create(cron_expression="0 12 * * *") for _ in range(2)]
    await ran(stage, mine, 1_000)
    told = await foretold(stage)
    assert (told["durations"], told["buckets"][12]["work_seconds"]) == ("job_type", 2)


async def test_what_max_runs_leaves_is_all_that_is_foretold(stage):
    await stage.create(interval_seconds=60, start_at="2090-01-01T00:00:30Z", max_runs=3)
    await stage.create(cron_expression="0 0 1 1 *", max_runs=1)  # over long before
    assert sum(counts(await foretold(stage))) == 3


async def test_jitter_moves_no_occurrence_into_another_bucket_and_shifts_no_interval(stage):
    for number in range(8):
        await stage.create(
            interval_seconds=3_600, start_at=f"2090-01-01T0{number % 4}:59:59Z", jitter_seconds=3_000
        )
        await stage.create(cron_expression="59 23 1 1 *", timezone="UTC", jitter_seconds=3_000)
    assert counts(await foretold(stage, bucket="1h"))[:4] == [2, 4, 6, 8]
    assert counts(await foretold(stage, bucket="1h"))[23] == 16


async def test_what_calendars_exclude_is_not_foretold(stage):
    await stage.ask("PUT", "calendars/shut", json={"dates": ["2090-01-01"]}, status=201)
    for schedule in (
        {"cron_expression": "0 12 * * *"},
        {"interval_seconds": 86_400, "start_at": "2089-12-31T13:00:00Z"},
    ):
        await stage.create(**schedule)
        await stage.create(**schedule, exclude_calendars=["shut"])
    told = await foretold(stage, bucket="1d", to="2090-01-03T00:00:00Z")
    assert counts(told) == [2, 4]


async def test_by_itself_it_begins_with_the_present_bucket_and_lasts_a_day(stage):
    await stage.create(interval_seconds=3_600)
    await stage.level()
    told = (await stage.ask("GET", "forecast", status=200)).json
    now = await stage.log.sync()
    begin = datetime.fromisoformat(told["from"])
    assert begin <= now < begin + timedelta(hours=1) + timedelta(seconds=60)
    assert (begin.minute, begin.second, len(told["buckets"])) == (0, 0, 24)
    assert sum(counts(told)) in {23, 24}  # an hour may end meanwhile


async def test_what_can_not_be_foretold_is_refused(stage):
    for query, pointer in (
        ({"bucket": "1w"}, "?bucket"),
        ({"bucket": "0"}, "?bucket"),
        ({"bucket": "367d"}, "?bucket"),
        ({"bucket": "1s"}, "?bucket"),
        ({"to": DAY["from"]}, "?to"),
        ({"to": "2091-01-03T00:00:00Z", "bucket": "1d"}, "?to"),
        ({"from": "1969-12-31T00:00:00Z"}, "?from"),
        ({"from": "tomorrow"}, "?from"),
        ({"count": "5"}, "?count"),
    ):
        refused = await stage.ask("GET", "forecast", query_string=DAY | query, status=422)
        assert [each["pointer"] for each in refused.json["errors"]] == [pointer], query


async def test_what_would_cost_too_much_is_refused_with_a_sentence(stage, monkeypatch):
    for minute in range(3):
        await stage.create(cron_expression=f"{minute} * * * *")
    await stage.level()
    with monkeypatch.context() as patched:
        patched.setattr(forecast, "COST_MAX", 50)
        said = await stage.ask("GET", "forecast", query_string=DAY, status=422)
        assert "shorter time" in said.json["detail"]
    monkeypatch.setattr(forecasts, "GROUPS_MAX", 2)
    await stage.ask("GET", "forecast", query_string=DAY, status=422)


async def test_a_tenant_is_told_of_its_own_jobs_only(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on") as guarded:
        ann, eve = by(await key_of(guarded)), by(await key_of(guarded, tenant="other", owner="eve"))
        await guarded.ask("POST", "jobs", json=JOB | {"interval_seconds": 3_600}, headers=ann, status=201)
        await guarded.level()
        told = [
            (await guarded.ask("GET", "forecast", headers=who, status=200)).json["jobs"] for who in (ann, eve)
        ]
        assert told == [1, 0]
