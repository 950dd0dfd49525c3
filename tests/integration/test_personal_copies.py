"""Copies of keys leave Redis after the states of their jobs, and nothing that was said is lost by that."""

import json

import pytest

from services.executor.personal import seal_of
from shared.domain import ids
from shared.domain.commands import FailRun, StartRun
from shared.domain.events import Failure
from shared.personal.keys import PersonalKeys
from shared.personal.sealing import ERROR, Place, seal_text
from shared.personal.sweeping import AGAIN_S, STEP_EVERY_S, SWEEP_EVERY_S, Sweep
from shared.testing import TESTER, wait_until
from tests.integration.api_stage import stage_on
from tests.integration.personal_kit import MAIL, a_mail, person
from tests.integration.test_personal_keys import NoPool

REASON = {"reason": "asked for"}


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, **MAIL) as made:
        yield made


def keys_of(stage, job_id):
    return stage.log.keys(ids.partition_of(job_id))


async def has_copy(stage, job_id):
    return bool(await stage.redis.hexists(keys_of(stage, job_id).personal, job_id))


async def hours_pass(stage):
    await stage.pool.execute("update book.personal_keys set made_at = made_at - interval '2 hours'")


async def leaves(stage, job_id):
    """The state of a job does, as a day after it is over."""
    await stage.level()
    assert await stage.redis.delete(keys_of(stage, job_id).aggregate(f"job:{job_id}"))


async def swept(stage, *jobs):
    for job in jobs:
        await Sweep(stage.pool, stage.redis, keys_of(stage, job)).step()


async def an_old_mail(stage, way):
    """A job that was triggered once, was over long ago, and has no copy of its key any more; job and run."""
    job = await stage.create(**a_mail(way))
    run_id = (await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)).json["id"]
    secret = (await stage.deps.personal.of([job["id"]]))[job["id"]]
    ref = f"run:{run_id}"
    fence = (await stage.deps.decider.decide(ref, StartRun(worker="w"), TESTER)).after.fence
    said = seal_text(f"no such {person(way)}", secret, Place(job["id"], ERROR))
    failure = Failure(class_="OSError", message=said)
    report = FailRun(fence=fence, error=failure, names=("OSError",), draw=0.5, give_up=True)
    await stage.deps.decider.decide(ref, report, TESTER)
    await leaves(stage, job["id"])
    await hours_pass(stage)
    await swept(stage, job["id"])
    assert not await has_copy(stage, job["id"])
    return job["id"], run_id


async def test_a_projector_takes_the_copy_of_a_job_away_whose_state_has_left(stage):
    gone, alive = await stage.create(**a_mail("gone")), await stage.create(**a_mail("alive"))
    await leaves(stage, gone["id"])
    await hours_pass(stage)
    await stage.stop_projector()
    stage.start_projector()

    async def is_gone():
        return not await has_copy(stage, gone["id"])

    await wait_until(is_gone, "the copy is taken away")
    await swept(stage, alive["id"])
    assert await has_copy(stage, alive["id"])
    assert {gone["id"], alive["id"]} == set(await stage.deps.personal.of([gone["id"], alive["id"]]))


async def test_what_an_old_job_said_is_shown_and_said_again(stage):
    job_id, run_id = await an_old_mail(stage, "old")
    got = (await stage.ask("GET", f"executions/{run_id}", status=200)).json
    assert got["error"]["message"] == f"no such {person('old')}"
    again = (await stage.ask("POST", f"executions/{run_id}/retry", status=201)).json["id"]
    run = (await stage.log.load(f"run:{again}"))[f"run:{again}"].state
    executor = PersonalKeys(stage.redis, stage.pool, prefix=stage.prefix)
    opened = (await seal_of(run, executor)).opened(run.spec.job_data)
    assert opened["recipient"] == person("old")
    over = {"job_data": {"bcc": [person("over")]}, "overlap_policy": "allow"}
    await stage.ask("POST", f"jobs/{job_id}/trigger", json=over, status=201)
    patch = {"job_data": {"subject": "another"}}
    got = (await stage.ask("PATCH", f"jobs/{job_id}", json=patch, status=200)).json
    assert (got["job_data"]["recipient"], got["job_data"]["subject"]) == (person("old"), "another")
    assert await stage.pool.fetchval("select count(*) from book.personal_keys") == 1


async def test_what_an_opening_finds_without_a_state_it_does_not_bring_back(stage):
    old, _ = await an_old_mail(stage, "old")
    alive = await stage.create(**a_mail("alive"))
    await stage.stop_projector()
    for job_id in (old, alive["id"]):
        keys = keys_of(stage, job_id)
        await stage.redis.delete(keys.personal)
        await stage.redis.hdel(keys.meta, "incarnation")  # as if the server had been restarted
        await stage.reopen(keys.partition)
    assert (await has_copy(stage, old), await has_copy(stage, alive["id"])) == (False, True)
    stage.start_projector()


async def test_a_copy_that_postgres_lacks_stays(stage):
    """It may be the last; and one that was made a moment ago may be of a job that is about to be committed."""
    lost, young = await stage.create(**a_mail("lost")), await stage.create(**a_mail("young"))
    await hours_pass(stage)
    await stage.pool.execute("update book.personal_keys set made_at = now() where job = $1", young["id"])
    await stage.pool.execute("delete from book.personal_keys where job = $1", lost["id"])
    for job in (lost, young):
        await leaves(stage, job["id"])
        await swept(stage, job["id"])
        assert await has_copy(stage, job["id"])


async def test_nothing_is_taken_away_while_a_log_is_made_anew(stage):
    """Its states are about to be put back."""
    job = await stage.create(**a_mail("healed"))
    await stage.level()
    await stage.stop_projector()
    await hours_pass(stage)
    await leaves(stage, job["id"])
    await stage.redis.hdel(keys_of(stage, job["id"]).meta, "incarnation")
    await swept(stage, job["id"])
    assert await has_copy(stage, job["id"])
    stage.start_projector()


async def test_an_old_job_is_erased_whole(stage):
    job_id, run_id = await an_old_mail(stage, "erased")
    await stage.ask("POST", f"jobs/{job_id}/erase", json=REASON, status=200)
    assert await stage.pool.fetchval("select key from book.personal_keys where job = $1", job_id) is None
    assert not await has_copy(stage, job_id)
    got = (await stage.ask("GET", f"executions/{run_id}", status=200)).json
    assert person("erased") not in json.dumps(got)
    assert got["error"]["message"] == '{"$erased":true}'


async def test_a_sweep_is_made_of_small_steps_and_then_rests(stage):
    many = [ids.chance_id(ids.from_ms(1_790_000_000_000), 0, number) for number in range(1_500)]
    await stage.deps.personal.make(many, tenant="t")
    await hours_pass(stage)
    now, left = 0.0, [1_500]
    sweep = Sweep(stage.pool, stage.redis, stage.log.keys(0), clock=lambda: now)
    while left[-1]:
        await sweep.step()
        left.append(await stage.redis.hlen(stage.log.keys(0).personal))
        await sweep.step()  # too early
        assert left[-1] == await stage.redis.hlen(stage.log.keys(0).personal)
        now += STEP_EVERY_S
        assert now < 10
    assert len(left) > 3
    for _ in range(10):  # whatever an empty hash takes
        await sweep.step()
        now += STEP_EVERY_S
    await stage.deps.personal.make(many[:1], tenant="t")
    now += SWEEP_EVERY_S - 60
    await sweep.step()
    assert await stage.redis.hlen(stage.log.keys(0).personal) == 1
    now += 60
    await sweep.step()
    assert await stage.redis.hlen(stage.log.keys(0).personal) == 0


async def test_a_store_that_is_away_costs_a_step_only(stage):
    job_id = (await stage.create(**a_mail("away")))["id"]
    await leaves(stage, job_id)
    await hours_pass(stage)
    now = 0.0
    keys = keys_of(stage, job_id)
    sweep = Sweep(NoPool(), stage.redis, keys, clock=lambda: now)
    await sweep.step()
    assert await has_copy(stage, job_id)
    await Sweep(stage.pool, NoPool(), keys).step()
    sweep._pool = stage.pool
    now += AGAIN_S
    await sweep.step()
    assert not await has_copy(stage, job_id)
