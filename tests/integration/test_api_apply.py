"""POST /apply: a file of jobs made true, over real Redis and Postgres."""

import asyncio

import pytest

from services.api import apply as applying
from services.api.applied_ids import Named, applied_id, digest_of, generation_of
from services.api.idempotency import Idempotency
from services.api.writes import Writes
from shared.domain import ids

from .api_stage import JOB, stage_on
from .test_api_auth import by, key_of

COUNTS = ("created", "updated", "unchanged", "deleted")


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def guarded(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on", max_jobs_per_user=3) as made:
        yield made


def file_of(*names, **changes):
    return [JOB | {"name": name} | changes for name in names]


async def apply(stage, jobs, status=200, headers=None, **options):
    return (
        await stage.ask("POST", "apply", json={"jobs": jobs, **options}, status=status, headers=headers)
    ).json


def counts(answer):
    return tuple(answer[name] for name in COUNTS)


def actions(answer):
    return {each["name"]: each["action"] for each in answer["items"]}


async def jobs_of(stage, headers=None):
    listed = (await stage.ask("GET", "jobs?per_page=200", status=200, headers=headers)).json
    return {each["name"]: each for each in listed["items"]}


async def test_a_file_is_made_then_changed_then_nothing_is_left_to_do(stage):
    first = await apply(stage, file_of("a", "b"))
    assert counts(first) == (2, 0, 0, 0)
    made = await jobs_of(stage)
    assert {each["name"]: each["id"] for each in first["items"]} == {n: j["id"] for n, j in made.items()}
    second = await apply(stage, [*file_of("a"), *file_of("b", priority=9, job_data={"operation": "echo"})])
    assert actions(second) == {"a": "unchanged", "b": "update"}
    assert second["items"][1]["changes"] == [
        {"pointer": "/job_data/parameters", "from": {"n": 1}},
        {"pointer": "/priority", "from": 5, "to": 9},
    ]
    b = (await stage.ask("GET", f"jobs/{made['b']['id']}", status=200)).json
    assert (b["priority"], b["revision"]) == (9, 2)
    before = await stage.contents()
    third = await apply(stage, [*file_of("a"), *file_of("b", priority=9, job_data={"operation": "echo"})])
    assert counts(third) == (0, 0, 2, 0)
    assert await stage.contents() == before


async def test_a_dry_run_tells_the_same_and_changes_nothing(stage):
    await apply(stage, file_of("a", "b"))
    before = await stage.contents()
    file = [*file_of("a", priority=1), *file_of("c")]
    would = await apply(stage, file, dry_run=True, prune=True)
    assert would["dry_run"]
    assert await stage.contents() == before
    done = await apply(stage, file, prune=True)
    assert (done["items"], counts(done)) == (would["items"], counts(would))
    assert actions(done) == {"a": "update", "c": "create", "b": "delete"}
    assert set(await jobs_of(stage)) == {"a", "c"}


async def test_prune_deletes_what_was_applied_and_nothing_else(stage):
    by_hand = await stage.create(name="by hand")
    await apply(stage, file_of("a", "b"))
    await stage.ask(
        "PATCH", f"jobs/{(await jobs_of(stage))['b']['id']}", json={"name": "renamed"}, status=200
    )
    assert counts(await apply(stage, file_of("a"))) == (0, 0, 1, 0)
    assert actions(await apply(stage, [], prune=True)) == {"a": "delete", "renamed": "delete"}
    assert (await jobs_of(stage))["by hand"]["id"] == by_hand["id"]
    assert len(await jobs_of(stage)) == 1


async def test_a_job_that_was_deleted_comes_back_as_the_next_generation(stage):
    for generation in range(3):
        made = (await apply(stage, file_of("a")))["items"][0]
        assert (made["action"], generation_of(made["id"])) == ("create", generation)
        assert made["id"] == applied_id(
            Named("default", "anonymous", "a"), generation, partitions=stage.partitions
        )
        assert counts(await apply(stage, file_of("a"))) == (0, 0, 1, 0)
        await stage.ask("DELETE", f"jobs/{made['id']}", status=204)
    trail = (await stage.ask("GET", f"jobs/{made['id']}/events", status=200)).json
    assert trail["total"] == 2


async def test_one_wrong_job_leaves_all_as_it_was_and_is_pointed_to(stage):
    await apply(stage, file_of("a"))
    before = await stage.contents()
    for wrong, where in (
        (file_of("x", priority=11), "#/jobs/2/priority"),
        (file_of("x", cron_expression="0 0 30 2 *"), "#/jobs/2/cron_expression"),
        (file_of("x", run_at="2020-01-01T00:00:00Z"), "#/jobs/2/run_at"),
        (file_of("x", job_data={"operation": "nothing"}), "#/jobs/2/job_data"),
        (file_of("a"), "#/jobs/2/name"),
        ([{"job_type": "custom"}], "#/jobs/2/name"),
    ):
        answer = await apply(
            stage, [*file_of("a", priority=9), *file_of("new"), *wrong], status=422, prune=True
        )
        assert answer["errors"][0]["pointer"].startswith(where), answer
    assert await stage.contents() == before
    assert (await jobs_of(stage))["a"]["priority"] == 5


async def test_the_type_of_a_job_is_fixed_under_its_name(stage):
    before = (await apply(stage, file_of("a")))["items"]
    root = str(stage.settings.files_roots[0])
    data = {"cleanup_type": "temp_files", "path": root, "retention_days": 1}
    wrong = file_of("a", job_type="cleanup_task", job_data=data)
    answer = await apply(stage, wrong, status=422)
    assert [fault["pointer"] for fault in answer["errors"]] == ["#/jobs/0/job_type"], answer
    assert (await apply(stage, file_of("a")))["items"][0]["id"] == before[0]["id"]


async def test_of_two_files_at_once_one_is_what_there_is(stage):
    files = [file_of("a", "b"), file_of("b", "c")]
    for _ in range(3):
        await asyncio.gather(*(apply(stage, file, prune=True) for file in files))
        assert set(await jobs_of(stage)) in ({"a", "b"}, {"b", "c"})


async def test_the_same_file_twice_at_once_is_made_once(stage):
    answers = await asyncio.gather(*(apply(stage, file_of(*"abcdef")) for _ in range(3)))
    assert sorted(map(counts, answers)) == [(0, 0, 6, 0), (0, 0, 6, 0), (6, 0, 0, 0)]
    assert len(await jobs_of(stage)) == 6


async def test_what_is_edited_created_or_deleted_meanwhile_is_compared_anew(stage, monkeypatch):
    """The lock may be lost: each job is still decided on the revision that it was compared at."""
    await apply(stage, file_of("edited", "deleted"))
    there = await jobs_of(stage)
    new_id = applied_id(Named("default", "anonymous", "new"), 0, partitions=stage.partitions)
    carried_out, is_first = applying.Apply._carried_out, True

    async def meddled(self, wishes):
        nonlocal is_first
        if is_first:
            is_first = False
            await stage.ask("PATCH", f"jobs/{there['edited']['id']}", json={"tags": ["by hand"]}, status=200)
            await stage.ask("DELETE", f"jobs/{there['deleted']['id']}", status=204)
            digest = digest_of("default", "anonymous")
            lock = stage.log.keys(int(digest[:8], 16) % stage.partitions).applying(digest)
            assert await stage.redis.pttl(lock) > 0
            await stage.redis.delete(lock)
            await apply(stage, file_of("new"))
        return await carried_out(self, wishes)

    monkeypatch.setattr(applying.Apply, "_carried_out", meddled)
    file = [*file_of("edited", "deleted", priority=9), *file_of("new", priority=8)]
    answer = await apply(stage, file)
    assert actions(answer) == {"edited": "update", "deleted": "create", "new": "update"}
    assert {"pointer": "/tags", "from": ["by hand"], "to": []} in answer["items"][0]["changes"]
    now = await jobs_of(stage)
    assert {name: job["priority"] for name, job in now.items()} == {"edited": 9, "deleted": 9, "new": 8}
    assert now["edited"]["tags"] == []
    assert now["new"]["id"] == new_id


async def test_prune_waits_for_what_the_last_apply_has_made(stage):
    await apply(stage, file_of("a"))
    await stage.stop_projector()
    await stage.ask("POST", "apply", json={"jobs": file_of("b")}, headers={"Prefer": "wait=0"}, status=202)
    late = await stage.ask(
        "POST", "apply", json={"jobs": [], "prune": True}, headers={"Prefer": "wait=0"}, status=503
    )
    assert late.headers["Retry-After"]
    stage.start_projector()
    assert actions(await apply(stage, [], prune=True)) == {"a": "delete", "b": "delete"}


async def test_a_key_gets_the_first_answer_and_a_crash_is_gone_over_again(stage, monkeypatch):
    headers = {"Idempotency-Key": "k"}
    kept = Idempotency._kept

    async def crash(*_):
        raise RuntimeError

    monkeypatch.setattr(Idempotency, "_kept", crash)
    await apply(stage, file_of("a"), status=500, headers=headers)
    monkeypatch.setattr(Idempotency, "_kept", kept)
    assert counts(await apply(stage, file_of("a"), headers=headers)) == (0, 0, 1, 0)
    await stage.ask("DELETE", f"jobs/{(await jobs_of(stage))['a']['id']}", status=204)
    assert counts(await apply(stage, file_of("a"), headers=headers)) == (0, 0, 1, 0)
    assert await jobs_of(stage) == {}
    assert (await apply(stage, file_of("b"), status=422, headers=headers))["type"] == "/problems/key-reused"


async def test_no_lock_is_left_and_no_key_lives_for_ever(stage, monkeypatch):
    async def broken(*_args, **_kwargs):
        raise ConnectionError

    monkeypatch.setattr(Writes, "decide", broken)
    await apply(stage, file_of("a"), status=503)
    monkeypatch.undo()
    await apply(stage, file_of("a"))
    names = [name async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*appl*")]
    assert len(names) == 1
    assert await stage.redis.pttl(names[0]) > 0


async def test_files_are_their_owners_and_the_quota_holds(guarded):
    ann, eve = by(await key_of(guarded, "editor")), by(await key_of(guarded, "editor", "acme", "eve"))
    await apply(guarded, file_of("a", "b"), headers=ann)
    assert counts(await apply(guarded, file_of("a"), headers=eve, prune=True)) == (1, 0, 0, 0)
    assert (await apply(guarded, file_of("a", "b", "c", "d"), status=409, headers=ann))["type"].endswith(
        "quota"
    )
    assert counts(await apply(guarded, file_of("c", "d", "e"), headers=ann, prune=True)) == (3, 0, 0, 2)
    listed = (await guarded.ask("GET", "jobs", status=200, headers=eve)).json["items"]
    assert sorted((each["owner"], each["name"]) for each in listed) == [
        ("ann", "c"), ("ann", "d"), ("ann", "e"), ("eve", "a"),
    ]  # fmt: skip
    await apply(guarded, [], status=403, headers=by(await key_of(guarded, "operator")))


async def test_hundreds_are_applied_and_compared_and_above_a_thousand_refused(stage):
    file = file_of(*(f"job {n}" for n in range(400)))
    assert counts(await apply(stage, file)) == (400, 0, 0, 0)
    assert counts(await apply(stage, file)) == (0, 0, 400, 0)
    await apply(stage, file_of(*map(str, range(1_001))), status=422)


def test_applied_ids_are_ids_and_stand_before_all_others():
    named = Named("t", "o", "n")
    some = [applied_id(named, generation, partitions=4) for generation in (0, 1, applying.TRIES)]
    assert some == sorted(some)
    assert all(ids.parse(each) < applying.BOUND for each in some)
    assert len({each[14:] for each in some}) == 1
    assert applied_id(Named("t", "o", "m"), 0, partitions=4) not in some
    assert applied_id(Named("u", "o", "n"), 0, partitions=4)[14:] != some[0][14:]
