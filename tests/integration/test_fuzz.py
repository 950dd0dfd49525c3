"""Thousands of wrong requests: always a problem of 4xx that says where, never a trace of them anywhere."""

from datetime import timedelta

import pytest

from shared.eventlog.envelope import rfc3339

from .api_stage import stage_on
from .fuzz import Fuzzer

A_FEW, MANY = 2_000, 12_000
LOOKED_AT_EVERY = 100
POINTED = {"invalid", "not-available-yet"}  # the problems that are about a place in the request


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


async def sizes(stage):
    """Of each log, and how many keys there are."""
    async with stage.redis.pipeline(transaction=False) as pipe:
        for partition in range(stage.partitions):
            pipe.xlen(stage.log.keys(partition).log)
        return await pipe.execute(), len(await stage.keys())


@pytest.mark.parametrize(
    "seed", [20261127, pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
async def test_a_wrong_request_is_a_problem_and_leaves_no_trace(stage, seed):
    job = await stage.create(interval_seconds=86_400)
    run = (await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)).json
    key = await stage.ask(
        "POST", "api-keys", json={"name": "k", "role": "viewer", "owner": "bob"}, status=201
    )
    past = rfc3339(stage.log.now() - timedelta(hours=1))
    backfill = await stage.ask("POST", f"jobs/{job['id']}/backfill", json={"from": past}, status=201)
    document = (await stage.ask("GET", "/openapi.json")).json
    ids = {"job_id": job["id"], "run_id": run["id"], "key_id": key.json["id"]}
    ids["backfill_id"] = backfill.json["id"]
    another = Fuzzer(seed, document, ids)
    whole = await stage.contents()
    before, statuses = await sizes(stage), {}
    for number in range(MANY if seed == 1 else A_FEW):
        wrong = another()
        answer = await stage.ask(
            wrong.method, wrong.path, query_string=wrong.query, headers=wrong.headers, data=wrong.body
        )
        where = f"{number} {wrong}: {answer.status} {answer.text[:500]}"
        assert 400 <= answer.status < 500, where
        assert answer.headers["Content-Type"] == "application/problem+json", where
        assert answer.json["status"] == answer.status, where
        if wrong.points or answer.json["type"].removeprefix("/problems/") in POINTED:
            assert answer.json["errors"], where
            assert all(each["pointer"] for each in answer.json["errors"]), where
        assert await sizes(stage) == before, where
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        if number % LOOKED_AT_EVERY == 0:
            assert await stage.contents() == whole, f"within {LOOKED_AT_EVERY} of {where}"
    assert await stage.contents() == whole
    assert set(statuses) >= {400, 404, 405, 413, 415, 422}, statuses
