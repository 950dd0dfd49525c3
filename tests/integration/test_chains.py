"""Chains: the end of a run triggers the jobs that follow on it, each once, wherever they stand."""

import asyncio

import pytest

from services.timer import failure_mail
from services.timer.due import DueIndex
from services.timer.relays import Relays
from shared.domain import ids
from shared.domain.commands import FailRun, StartRun, SucceedRun, TriggerJob
from shared.domain.events import Failure
from shared.domain.relay import DEPTH_MAX
from shared.eventlog.decider import Unseen
from shared.testing import TESTER, chance
from tests.integration.api_stage import stage_on

ERROR = Failure(class_="OSError", message="no route to host")
MANUAL = {"cron_expression": None, "interval_seconds": None}


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(
        valkey, postgres, tmp_path, smtp_url="smtp://127.0.0.1:1", mail_from="daybook@example.com"
    ) as made:
        yield made


class Hand:
    """Does by hand what a timer and an executor do."""

    def __init__(self, stage):
        self._stage = stage
        self._decide = stage.deps.decider.decide
        self.counted = []
        self.relays = Relays(stage.log, stage.deps.decider, count=self.counted.append)

    async def end(self, run_id, *, well=True):
        ref = f"run:{run_id}"
        fence = (await self._decide(ref, StartRun(worker="w"), TESTER)).after.fence
        report = SucceedRun(fence=fence)
        if not well:
            report = FailRun(fence=fence, error=ERROR, names=("OSError",), draw=0.5, give_up=True)
        await self._decide(ref, report, TESTER)

    async def run(self, job_id, *, well=True):
        """A run of the job, triggered and ended."""
        run_id = ids.chance_id(self._stage.log.now(), ids.partition_of(job_id), chance())
        command = TriggerJob(run_id=run_id, correlation_id="chain-1")
        await self._decide(f"job:{job_id}", command, TESTER)
        await self.end(run_id, well=well)
        return run_id

    async def due(self):
        """The relays that are due."""
        seen = await DueIndex(self._stage.log).look(range(self._stage.partitions))
        return [each for some in seen.due.values() for each in some if each.ref.startswith("relay:")]

    async def wake(self):
        """Tell all relays that are due; what came of each follower."""
        links = []
        for entry in await self.due():
            decided = await self.relays.tell(entry.snapshot().state, entry.score)
            links += [link for change in decided.changes for link in change.event.links]
        return links

    async def runs_of(self, job_id):
        await self._stage.level()
        listed = await self._stage.ask("GET", f"jobs/{job_id}/executions", status=200)
        return [each for each in listed.json["items"] if each["trigger"] == "chain"]


@pytest.fixture
def hand(stage):
    return Hand(stage)


async def two(stage, **policies):
    """Jobs of both partitions, by partition; and one that they follow on in the way of `policies`."""
    found = {}
    while len(found) < 2:  # partitions take turns
        job = await stage.create(**MANUAL, name="follower")
        found[ids.partition_of(job["id"])] = job["id"]
    followers = [found[0], found[1]]
    first = await stage.create(**MANUAL, **dict.fromkeys(policies.get("names", ()), followers))
    return followers, first["id"]


async def test_a_success_triggers_its_followers_in_every_partition(stage, hand):
    followers, first = await two(stage, names=("on_success",))
    run_id = await hand.run(first)
    links = await hand.wake()
    assert [(link.job_id, link.refused) for link in links] == [(each, None) for each in followers]
    for link in links:
        (run,) = await hand.runs_of(link.job_id)
        assert (run["id"], run["of"], run["correlation_id"]) == (link.run_id, run_id, "chain-1")
    assert len(hand.counted) == 2
    assert await hand.due() == []
    kinds = [
        event["type"] for event in (await stage.ask("GET", f"jobs/{first}/events", status=200)).json["items"]
    ]
    assert kinds[:2] == ["io.daybook.chain.triggered", "io.daybook.chain.requested"]


async def test_an_end_that_is_handed_on_looks_for_no_relay(stage, hand, monkeypatch):
    _, first = await two(stage, names=("on_success",))
    load = stage.log.load

    async def counted(*refs):
        assert not any(ref.startswith("relay:") for ref in refs), "it can't be there: its run ends once"
        return await load(*refs)

    monkeypatch.setattr(stage.log, "load", counted)
    await hand.run(first)
    assert len(await hand.due()) == 1


async def test_a_failure_triggers_those_that_follow_on_failures_alone(stage, hand):
    (one, other), _ = await two(stage)
    first = await stage.create(**MANUAL, on_success=[one], on_failure=[other])
    await hand.run(first["id"], well=False)
    assert [link.job_id for link in await hand.wake()] == [other]
    await hand.run(first["id"])
    assert [link.job_id for link in await hand.wake()] == [one]


async def test_a_timer_that_dies_between_two_followers_triggers_none_twice(stage, hand, monkeypatch):
    followers, first = await two(stage, names=("on_success",))
    await hand.run(first)
    follow = hand.relays._follow

    async def dies_at_the_second(relay, job_id, *more):
        if job_id == followers[1]:
            raise ConnectionError("killed")
        return await follow(relay, job_id, *more)

    monkeypatch.setattr(hand.relays, "_follow", dies_at_the_second)
    with pytest.raises(Unseen):  # so that the timer's other wakes don't wait for a partition that is away
        await hand.wake()
    monkeypatch.undo()
    done = (await hand.runs_of(followers[0]))[0]["id"]
    await hand.end(done)  # and its snapshot may be gone by the next wake: `once` remembers
    await stage.redis.delete(stage.log.keys(ids.partition_of(done)).aggregate(f"run:{done}"))
    links = await hand.wake()
    assert [link.refused for link in links] == [None, None]
    assert links[0].run_id == done
    (first_run,), (second_run,) = [await hand.runs_of(each) for each in followers]
    assert (first_run["status"], second_run["status"]) == ("succeeded", "queued")


async def test_two_timers_at_one_relay_are_as_good_as_one(stage, hand):
    followers, first = await two(stage, names=("on_success",))
    await hand.run(first)
    (entry,) = await hand.due()
    state = entry.snapshot().state
    done = await asyncio.gather(*(hand.relays.tell(state, entry.score) for _ in range(4)))
    assert sum(len(decided.changes) for decided in done) == 1
    assert [len(await hand.runs_of(each)) for each in followers] == [1, 1]


async def test_who_can_not_follow_is_named_with_the_reason(stage, hand):
    (gone, paused), _ = await two(stage)
    busy = (await stage.create(**MANUAL))["id"]
    first = await stage.create(**MANUAL, on_success=[gone, paused, busy])
    await stage.ask("DELETE", f"jobs/{gone}", status=204)
    await stage.ask("POST", f"jobs/{paused}/pause", status=200)
    await stage.ask("POST", f"jobs/{busy}/trigger", status=201)
    await hand.run(first["id"])
    links = await hand.wake()
    assert [(link.run_id, link.refused) for link in links] == [
        (None, "no-such-job"),
        (None, "paused"),
        (None, "overlap"),
    ]


async def test_a_ring_is_refused_however_long_it_is(stage):
    third = await stage.create(**MANUAL, name="third")
    second = await stage.create(**MANUAL, name="second", on_failure=[third["id"]])
    first = await stage.create(**MANUAL, name="first", on_success=[second["id"]])
    for closing, pointer in (([first["id"]], "#/on_success/0"), ([third["id"]], "#/on_success/0")):
        refused = await stage.ask("PATCH", f"jobs/{third['id']}", json={"on_success": closing}, status=422)
        assert [(each["pointer"], "itself" in each["detail"]) for each in refused.json["errors"]] == [
            (pointer, True)
        ]
    assert (await stage.ask("GET", f"jobs/{third['id']}", status=200)).json["on_success"] == []


async def test_a_ring_that_two_edits_closed_ends_by_its_depth(stage, hand, monkeypatch):
    job = (await stage.create(**MANUAL))["id"]

    async def nothing_wrong(*_):
        return []

    monkeypatch.setattr("services.api.chains.Chains.faults", nothing_wrong)
    await stage.ask("PATCH", f"jobs/{job}", json={"on_success": [job]}, status=200)
    await hand.run(job)
    for depth in range(1, DEPTH_MAX + 1):
        (link,) = await hand.wake()
        assert link.refused is None, depth
        await hand.end(link.run_id)
    assert [link.refused for link in await hand.wake()] == ["too-deep"]
    assert await hand.due() == []


async def test_only_jobs_that_are_there_can_follow_and_those_that_have_gone_are_no_reason_against_an_edit(
    stage,
):
    nobody = ids.chance_id(stage.log.now(), 1, 7)
    elsewhere = ids.chance_id(stage.log.now(), 4_000, 7)
    body = {"name": "j", "job_type": "custom", "job_data": {"operation": "echo"}}
    refused = await stage.ask(
        "POST", "jobs", json=body | {"on_success": [nobody], "on_failure": [elsewhere]}, status=422
    )
    assert [each["pointer"] for each in refused.json["errors"]] == ["#/on_success/0", "#/on_failure/0"]
    follower = await stage.create(**MANUAL)
    first = await stage.create(**MANUAL, on_success=[follower["id"]])
    await stage.ask("DELETE", f"jobs/{follower['id']}", status=204)
    edited = await stage.ask("PATCH", f"jobs/{first['id']}", json={"priority": 9}, status=200)
    assert edited.json["on_success"] == [follower["id"]]
    added = {"on_failure": [follower["id"]]}
    assert (await stage.ask("PATCH", f"jobs/{first['id']}", json=added)).status == 200  # it is known already
    twice = await stage.ask("PATCH", f"jobs/{first['id']}", json={"on_failure": [nobody, nobody]}, status=422)
    assert "twice" in twice.json["errors"][0]["detail"]


async def test_the_same_creation_again_is_answered_though_its_follower_has_gone(stage):
    follower = await stage.create(**MANUAL)
    body = {
        "name": "j",
        "job_type": "custom",
        "job_data": {"operation": "echo"},
        "on_success": [follower["id"]],
    }
    headers = {"Idempotency-Key": "one"}
    made = await stage.ask("POST", "jobs", json=body, headers=headers, status=201)
    await stage.ask("DELETE", f"jobs/{follower['id']}", status=204)
    again = await stage.ask("POST", "jobs", json=body, headers=headers, status=201)
    assert again.json["id"] == made.json["id"]
    await stage.ask("POST", "jobs", json=body, headers={"Idempotency-Key": "two"}, status=422)


async def test_a_job_that_would_apply_a_follower_that_is_not_there_writes_nothing(stage):
    nobody = ids.chance_id(stage.log.now(), 0, 7)
    job = {"job_type": "custom", "job_data": {"operation": "echo"}}
    jobs = [job | {"name": "good"}, job | {"name": "bad", "on_failure": [nobody]}]
    refused = await stage.ask("POST", "apply", json={"jobs": jobs}, status=422)
    assert [each["pointer"] for each in refused.json["errors"]] == ["#/jobs/1/on_failure/0"]
    await stage.level()
    assert (await stage.ask("GET", "jobs", status=200)).json["total"] == 0


# Mail.


async def test_a_failure_is_mailed_by_a_job_of_its_own(stage, hand):
    first = await stage.create(**MANUAL, name="Nightly\nsums", notify_on_failure=["Ops <ops@example.com>"])
    for _ in range(2):
        run_id = await hand.run(first["id"], well=False)
        (link,) = await hand.wake()
        assert link.refused is None
    mail_job = failure_mail.job_id("default", stage.partitions)
    assert link.job_id == mail_job
    await stage.level()
    job = (await stage.ask("GET", f"jobs/{mail_job}", status=200)).json
    assert (job["name"], job["owner"], job["job_type"]) == ("Failure mails", "daybook", "email_notification")
    assert len(await hand.runs_of(mail_job)) == 2
    data = (await stage.log.load(f"run:{link.run_id}"))[f"run:{link.run_id}"].state.spec.job_data
    assert data["recipients"] == ["Ops <ops@example.com>"]
    assert data["subject"] == "Nightly sums: an execution failed"
    assert all(each in data["body"] for each in ("OSError: no route to host", run_id, first["id"]))
    mended = await hand.run(first["id"])
    assert await hand.wake() == [], mended


async def test_the_data_of_such_mails_is_what_the_handler_takes(stage, hand):
    first = await stage.create(**MANUAL, notify_on_failure=["ops@example.com"])
    await hand.run(first["id"], well=False)
    (link,) = await hand.wake()
    deps = stage.deps
    for ref, of in ((f"run:{link.run_id}", "run"), (f"job:{link.job_id}", "job")):
        spec = (await stage.log.load(ref))[ref].state.spec
        model = deps.known.types["email_notification"].model
        model.model_validate(spec.job_data), of


async def test_whoever_deletes_that_job_gets_no_more_mails(stage, hand):
    first = await stage.create(**MANUAL, notify_on_failure=["ops@example.com"])
    await hand.run(first["id"], well=False)
    (link,) = await hand.wake()
    await stage.ask("DELETE", f"jobs/{link.job_id}", status=204)
    await hand.run(first["id"], well=False)
    assert [link.refused for link in await hand.wake()] == ["no-such-job"]


async def test_without_a_mail_server_nobody_can_ask_for_mails(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as stage:
        body = {"name": "j", "job_type": "custom", "job_data": {"operation": "echo"}}
        refused = await stage.ask(
            "POST", "jobs", json=body | {"notify_on_failure": ["a@example.com"]}, status=422
        )
        assert refused.json["errors"][0]["pointer"] == "#/notify_on_failure"
