"""What a job's cron expressions become on the way from the API into the log, and back."""

import pytest

from shared.domain.cron_hash import expanded
from tests.integration.api_stage import stage_on


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


def cron(*expressions):
    one, *more = expressions
    return {"interval_seconds": None, "cron_expression": [one, *more] if more else one}


async def test_an_h_is_drawn_when_the_job_is_made_and_sending_it_again_changes_nothing(stage):
    job = await stage.create(**cron("H H(1-5) * * *"))
    path = f"jobs/{job['id']}"
    assert job["cron_expression"] == expanded("H H(1-5) * * *", job["id"])
    assert "H" not in job["cron_expression"]
    body = {"name": job["name"], "job_type": job["job_type"], "job_data": job["job_data"]}
    again = await stage.ask("PUT", path, json=body | {"cron_expression": "H H(1-5) * * *"}, status=200)
    assert (again.json["revision"], again.json["cron_expression"]) == (1, job["cron_expression"])
    edited = await stage.ask("PATCH", path, json={"cron_expression": ["H 7 * * *", "0 0 1W * *"]}, status=200)
    drawn = [expanded("H 7 * * *", job["id"]), "0 0 1W * *"]
    assert (edited.json["revision"], edited.json["cron_expression"]) == (2, drawn)
    await stage.level()
    listed = (await stage.ask("GET", "jobs", status=200)).json["items"]
    assert [each["cron_expression"] for each in listed] == [drawn]
    await stage.ask("POST", f"{path}/revert", json={"revision": 1}, status=200)
    back = (await stage.ask("GET", path, status=200)).json
    assert (back["revision"], back["cron_expression"]) == (3, job["cron_expression"])


async def test_two_jobs_alike_draw_differently_and_are_one_job_to_apply_however_often(stage):
    jobs = [await stage.create(**cron("H H * * *")) for _ in range(4)]
    assert len({each["cron_expression"] for each in jobs}) > 1
    wanted = {"name": "drawn", "job_type": "custom", "job_data": {"operation": "echo"}} | cron(
        "H H * * *", "@daily"
    )
    for said in ("create", "unchanged"):
        done = await stage.ask("POST", "apply", json={"jobs": [wanted]}, status=200)
        assert [each["action"] for each in done.json["items"]] == [said], done.json


async def test_a_list_fires_at_the_next_of_any_of_its_expressions(stage):
    early = await stage.create(**cron("0 0 1 1 *", "* * * * * *"))
    late = await stage.create(**cron("0 0 1 1 *", "0 0 2 1 *"))
    assert late["next_run_time"].endswith("-01-01T00:00:00.000Z")
    assert early["next_run_time"] < late["next_run_time"]


async def test_a_window_is_kept_and_a_job_without_an_occurrence_in_it_is_refused(stage):
    window = {"start_at": "2090-01-01T02:00:00+02:00", "end_at": "2090-01-01T00:00:05Z"}
    job = await stage.create(interval_seconds=5, **window)
    assert (job["start_at"], job["end_at"]) == ("2090-01-01T00:00:00.000Z", "2090-01-01T00:00:05.000Z")
    assert job["next_run_time"] == job["start_at"]
    never = {"start_at": None, "end_at": "2020-01-01T00:00:00Z"}
    refused = await stage.ask("PATCH", f"jobs/{job['id']}", json=never, status=422)
    assert "no occurrence in the future" in refused.json["detail"]


async def test_a_dst_policy_is_kept_as_it_was_sent_and_null_is_the_default(stage):
    policy = {"gap": "skip", "overlap": "last"}
    job = await stage.create(**cron("30 2 * * *"), timezone="Europe/Berlin", dst_policy=policy)
    path = f"jobs/{job['id']}"
    assert job["dst_policy"] == policy
    edited = await stage.ask("PATCH", path, json={"dst_policy": {"gap": "next_valid"}}, status=200)
    assert edited.json["dst_policy"] == {"gap": "next_valid", "overlap": "last"}
    await stage.ask("PATCH", path, json={"dst_policy": {"gap": "never"}}, status=422)
    plain = await stage.ask("PATCH", path, json={"dst_policy": None}, status=200)
    assert plain.json["dst_policy"] == {"gap": "auto", "overlap": "auto"}
    assert plain.json["revision"] == 3
