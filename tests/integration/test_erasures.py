"""Erasing a job's personal data: when it is said to be done, the key is nowhere, and what was sealed opens no more."""

import json

import pytest

from services.projector.audit import verify
from shared.domain.commands import DeleteJob, EraseJob, StartRun, SucceedRun
from shared.domain.refusals import NoSuchJob
from shared.eventlog.envelope import Context
from shared.personal.keys import PersonalKeys
from shared.personal.sealing import ERASED, RESULT, Place, has_sealed, opened, seal
from shared.readmodel import archive, database
from shared.recovery import archived_job, open_log
from shared.testing import LEASE, TESTER, a_job_id, chance
from tests.integration.api_stage import stage_on
from tests.integration.archive_kit import all_of, an_office
from tests.integration.cli_kit import Line, listening
from tests.integration.cold_kit import an_empty_database, archived, at, daybook
from tests.integration.databases import a_database
from tests.integration.heal_kit import wipe
from tests.integration.retention_kit import drop, moment, split
from tests.integration.stream_kit import served
from tests.integration.test_api_auth import SECRET, by, key_of
from tests.integration.test_retention_archive import a_minute_passes

MAIL = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "daybook@example.com"}
WHO = "marker-7f3a@example.com"
A_MAIL = {
    "name": "a mail",
    "job_type": "email_notification",
    "job_data": {"recipient": WHO, "subject": "s", "body": "b"},
}
REASON = {"reason": "ticket 4711"}
ERASE = EraseJob(by="ann", reason="ticket 4711")


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, **MAIL) as made:
        yield made


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        await archive.record_deployment(made.pool, partitions=made.partitions, prefix=made.bench.prefix)
        made.log._archived = lambda ref: archived_job(made.pool, ref)
        made.personal = PersonalKeys(made.redis, made.pool, prefix=made.bench.prefix)
        yield made


async def kept(personal, job_id):
    """What the stores say of a job's key: its row, its copy."""
    row = await personal._pool.fetchrow(
        "select key, erased_at is not null as erased from book.personal_keys where job = $1", job_id
    )
    copies = await personal._copies([job_id])
    return row and tuple(row), copies.get(job_id)


GONE = ((None, True), None)


# Over the API.


async def test_when_it_answers_200_the_key_is_nowhere_and_the_job_is_deleted(stage):
    job = await stage.create(**A_MAIL)
    before = (await stage.ask("GET", f"jobs/{job['id']}", status=200)).headers
    key = (await stage.deps.personal.of([job["id"]]))[job["id"]]
    done = await stage.ask("POST", f"jobs/{job['id']}/erase", json=REASON, status=200)
    assert await kept(stage.deps.personal, job["id"]) == GONE
    assert (await stage.deps.personal.of([job["id"]]))[job["id"]] == ERASED
    assert done.json | {"at": 0} == {"job_id": job["id"], "by": "anonymous", "at": 0, **REASON}
    assert done.headers["Daybook-Position"]
    await stage.ask("GET", f"jobs/{job['id']}", status=404)
    events = (await stage.ask("GET", f"jobs/{job['id']}/events", status=200)).json["items"]
    assert [each["type"].removeprefix("io.daybook.") for each in events][:2] == [
        "personal.data.erased", "job.deleted",
    ]  # fmt: skip
    sealed = next(each for each in events if each["type"].endswith("job.created"))["data"]["spec"]["job_data"]
    assert has_sealed(sealed)
    assert opened(sealed, {job["id"]: key})["recipient"] == WHO  # with it, it would still open
    assert before["ETag"]


async def test_twice_is_answered_as_the_first_time_and_writes_nothing(stage):
    job = await stage.create(**A_MAIL)
    headers = {"Idempotency-Key": "one"}
    path = f"jobs/{job['id']}/erase"
    first = await stage.ask("POST", path, json=REASON, headers=headers, status=200)
    before = await stage.contents()
    again = await stage.ask("POST", path, json=REASON, headers=headers, status=200)
    assert (again.json, again.headers["Idempotency-Replayed"]) == (first.json, "true")
    for name in await stage.redis.keys(f"{stage.prefix}:*:once:*:*"):
        await stage.redis.delete(name)  # the text of the answer: it is told anew from the event
    told = await stage.ask("POST", path, json=REASON, headers=headers, status=200)
    assert told.json == first.json
    other = await stage.ask("POST", path, json={"reason": "another"}, status=200)
    assert other.json == first.json
    after = await stage.contents()
    assert (after["logs"], after["rows"]) == (before["logs"], before["rows"])


async def test_what_was_is_shown_as_erased(stage):
    job = await stage.create(**A_MAIL)
    place = (await stage.ask("PATCH", f"jobs/{job['id']}", json={"priority": 7}, status=200)).headers[
        "Daybook-Position"
    ]
    await stage.ask("POST", f"jobs/{job['id']}/erase", json=REASON, status=200)
    then = (await stage.ask("GET", f"jobs/{job['id']}?as_of={place}", status=200)).json
    assert then["job_data"]["recipient"] == {"$erased": True}
    assert then["priority"] == 7


async def test_streams_tell_the_record_as_it_is_written_before_and_after(stage):
    job = await stage.create(**A_MAIL)
    async with served(stage) as there, there.stream(after="") as client:
        await stage.ask("PATCH", f"jobs/{job['id']}", json={"job_data": {"subject": f"to {WHO}"}}, status=200)
        await stage.ask("POST", f"jobs/{job['id']}/erase", json=REASON, status=200)
        messages = await client.has(3)
    assert [each.type.rpartition("daybook.")[2] for each in messages[-3:]] == [
        "job.updated", "job.deleted", "personal.data.erased",
    ]  # fmt: skip
    told = json.dumps([each.data for each in messages])
    assert "$personal" in told
    assert WHO not in told


async def test_while_nothing_is_archived_it_is_accepted_and_done_as_soon_as_it_is(stage):
    job = await stage.create(**A_MAIL)
    await stage.stop_projector()
    done = await stage.ask(
        "POST", f"jobs/{job['id']}/erase", json=REASON, headers={"Prefer": "respond-async"}, status=202
    )
    assert done.headers["Location"].endswith(f"/jobs/{job['id']}/events")
    row, copy = await kept(stage.deps.personal, job["id"])
    assert (row[1], copy is not None) == (False, True)
    stage.start_projector()
    await stage.level()
    assert await kept(stage.deps.personal, job["id"]) == GONE


async def test_a_deleted_job_is_erased_and_one_without_personal_data_too(stage):
    job = await stage.create(**A_MAIL)
    await stage.ask("DELETE", f"jobs/{job['id']}", status=204)
    ref = f"job:{job['id']}"
    name = stage.log.keys(stage.log.partition_of(ref)).aggregate(ref)
    await stage.redis.delete(name)  # as after a day
    await stage.ask("POST", f"jobs/{job['id']}/erase", json=REASON, status=200)
    assert await kept(stage.deps.personal, job["id"]) == GONE
    assert 0 < await stage.redis.pttl(name) <= 24 * 3600 * 1000  # it leaves again
    plain = await stage.create()
    await stage.ask("POST", f"jobs/{plain['id']}/erase", json=REASON, status=200)


async def test_what_is_refused(stage):
    job = await stage.create(**A_MAIL)
    path = f"jobs/{job['id']}/erase"
    for body in ({}, {"reason": ""}, {"reason": "r" * 501}, {"reason": "r", "other": 1}):
        await stage.ask("POST", path, json=body, status=422)
    nobody = job["id"][:-1] + ("0" if job["id"][-1] != "0" else "1")
    await stage.ask("POST", f"jobs/{nobody}/erase", json=REASON, status=404)
    await stage.ask("POST", "jobs/none/erase", json=REASON, status=404)
    row, copy = await kept(stage.deps.personal, job["id"])
    assert (row[1], copy is not None) == (False, True)


async def test_only_an_admin_of_the_tenant_erases(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on", secret_key=SECRET, **MAIL) as stage:
        editor, admin = await key_of(stage, "editor"), await key_of(stage, "admin")
        job = (await stage.ask("POST", "jobs", json=A_MAIL, headers=by(editor), status=201)).json
        path = f"jobs/{job['id']}/erase"
        await stage.ask("POST", path, json=REASON, headers=by(editor), status=403)
        other = await key_of(stage, "admin", tenant="other")
        await stage.ask("POST", path, json=REASON, headers=by(other), status=404)
        await stage.ask("POST", path, json=REASON, headers=by(admin), status=200)


async def test_the_command_asks_first_and_says_when_it_is_done(stage):
    job = await stage.create(**A_MAIL)
    async with listening(stage.app) as url:
        line = Line(url)
        words = ("erase", "--job", job["id"], "--reason", "ticket 4711")
        said = await line(*words, given="n\n", status=1)
        assert "Nobody can take it back" in said.stderr
        assert (await kept(stage.deps.personal, job["id"]))[1]
        said = await line(*words, given="y\n")
        assert f"The personal data of {job['id']} is erased." in said.stderr
        assert await kept(stage.deps.personal, job["id"]) == GONE
        said = await line(*words, "--yes", "-o", "json")
        assert json.loads(said.stdout)["reason"] == "ticket 4711"
        said = await line("erase", "--job", "none", "--reason", "r", "--yes", status=4)
        assert "no job with this id" in said.stderr
        await line("erase", "--job", job["id"], status=2)
        assert "daybook erase --job ID --reason" in (await line("erase", "--help")).stdout


async def test_the_command_says_that_it_is_not_done_while_nothing_is_archived(stage, monkeypatch):
    monkeypatch.setattr("services.cli.erase.WAIT_S", 0)
    job = await stage.create(**A_MAIL)
    await stage.stop_projector()
    async with listening(stage.app) as url:
        said = await Line(url)("erase", "--job", job["id"], "--reason", "r", "--yes", status=3)
    assert "its key is not destroyed yet" in said.stderr
    stage.start_projector()


# The projector.


async def a_sealed_run(office, partition=0):
    """A job with a key and a run whose result is sealed; the job's id and its key."""
    job_id = await office.create(partition, overlap_policy="allow")
    key = (await office.personal.make([job_id], tenant="t"))[job_id]
    run_id = await office.trigger(job_id, partition=partition)
    result = seal({"to": WHO}, key, Place(job_id, RESULT))
    started = await office.decider.decide(f"run:{run_id}", StartRun(worker="w"), TESTER)
    report = SucceedRun(fence=started.after.fence, result=result)
    context = Context(actor="executor", cause=started.event_ids[-1])
    await office.decider.decide(f"run:{run_id}", report, context)
    return job_id, key


async def erase(office, job_id):
    return await office.decider.decide(f"job:{job_id}", ERASE, TESTER)


async def test_a_projector_that_dies_between_the_copy_and_the_commit_does_it_again(office, monkeypatch):
    job_id, key = await a_sealed_run(office)
    await erase(office, job_id)
    destroy = PersonalKeys.destroy

    async def killed(self, connection, job_ids):
        await destroy(self, connection, job_ids)
        raise ConnectionError("killed")

    monkeypatch.setattr(PersonalKeys, "destroy", killed)
    with pytest.raises(ConnectionError):
        await all_of(office.projector("dies"))
    assert await kept(office.personal, job_id) == ((key, False), None)
    assert await office.archived() == []
    monkeypatch.setattr(PersonalKeys, "destroy", destroy)
    await all_of(office.projector("next"))
    assert await kept(office.personal, job_id) == GONE
    assert (await office.archived())[-1].type == "PersonalDataErased"


async def test_keys_of_others_in_the_same_batch_stay(office):
    mine, _ = await a_sealed_run(office)
    other, key = await a_sealed_run(office)
    await erase(office, mine)
    await all_of(office.projector())
    assert await kept(office.personal, mine) == GONE
    assert (await office.personal.of([other]))[other] == key


async def test_a_job_is_erased_long_after_its_events_were_dropped(office, monkeypatch):
    job_id, _ = await a_sealed_run(office)
    await office.decider.decide(f"job:{job_id}", DeleteJob(by="bob"), TESTER)
    await archived(office)
    then = await moment(office)
    await office.create()
    await archived(office)
    await split(office.pool, "book.events", [then])
    await drop(office.database_url, then, monkeypatch)
    assert "JobCreated" not in {
        each.type for each in await office.archived() if each.subject == f"job/{job_id}"
    }
    await office.redis.delete(office.keys(0).aggregate(f"job:{job_id}"))
    await a_minute_passes(office)
    await erase(office, job_id)
    await archived(office)
    assert await kept(office.personal, job_id) == GONE
    assert await wrong(office) == {}


async def wrong(office):
    report = await verify(office.pool, office.redis)
    return {line.name: line.first for line in report.lines if line.violations}


async def test_a_log_that_is_made_anew_knows_it_and_brings_no_key_back(office):
    job_id, key = await a_sealed_run(office)
    other, kept_key = await a_sealed_run(office)
    await erase(office, job_id)
    await archived(office)
    await wipe(office)
    await office.open(0)
    assert await kept(office.personal, job_id) == GONE
    assert (await office.personal._copies([other]))[other].key == kept_key
    assert (await erase(office, job_id)).changes == ()
    with pytest.raises(NoSuchJob):
        await office.trigger(job_id)
    # A Redis that was set back has the copy again, and is opened.
    await office.redis.hset(office.keys(0).personal, job_id, key + b"t")
    await office.redis.hset(office.keys(0).meta, "incarnation", "another")
    await office.open(0)
    assert await kept(office.personal, job_id) == GONE
    await all_of(office.projector())
    assert await wrong(office) == {}


async def test_an_import_into_an_empty_database_destroys_the_key_again(office, postgres, tmp_path):
    job_id, key = await a_sealed_run(office)
    other, kept_key = await a_sealed_run(office)
    await erase(office, job_id)
    await archived(office)
    await daybook("archive", "export", "--to", tmp_path / "cold", **at(office.database_url))
    await daybook("archive", "verify", tmp_path / "cold")
    await office.redis.hset(
        office.keys(0).personal, job_id, key + b"t"
    )  # as a Redis that was set back has it
    async with an_empty_database(postgres) as url:
        await daybook("archive", "import", tmp_path / "cold", **at(url))
        async with await database.connect_pool(url) as pool:
            await office.redis.hset(office.keys(0).meta, "incarnation", "another")
            await open_log(
                pool, office.redis, prefix=office.bench.prefix, partition=0, partitions=2, lease=LEASE,
                chance=chance,
            )  # fmt: skip
            there = PersonalKeys(office.redis, pool, prefix=office.bench.prefix)
            assert await kept(there, job_id) == GONE
            assert (await kept(there, other))[0] == (kept_key, False)


async def test_an_older_backup_of_the_database_destroys_the_key_as_it_catches_up(office, postgres):
    job_id, key = await a_sealed_run(office)
    await all_of(office.projector())
    name = office.database_url.rpartition("/")[2]
    await office.pool.close()
    async with a_database(postgres) as url:
        backup = url.rpartition("/")[2]
        server = await database.connect_pool(postgres.endpoint.url, max_size=1)
        await server.execute(f"drop database {backup}")
        await server.execute(f"create database {backup} template {name}")
        office.pool = await database.connect_pool(office.database_url)
        office.personal._pool = office.pool
        await erase(office, job_id)
        await all_of(office.projector("before"))
        assert await kept(office.personal, job_id) == GONE
        await office.pool.close()
        office.pool = await database.connect_pool(url)  # the backup is back
        there = PersonalKeys(office.redis, office.pool, prefix=office.bench.prefix)
        assert (await kept(there, job_id))[0] == (key, False)
        await all_of(office.projector("after"))
        assert await kept(there, job_id) == GONE
        await server.close()
        await office.pool.close()
    office.pool = await database.connect_pool(office.database_url)


async def test_keys_that_an_older_backup_of_the_database_has_not_come_back_though_the_log_stays_open(office):
    """Their events do, from the log; were the keys left to Redis alone, they would be gone with its next loss."""
    await all_of(office.projector("before"))
    job_id, key = await a_sealed_run(office)
    await all_of(office.projector("meanwhile"))
    await office.pool.execute("delete from book.personal_keys")  # as in a backup from before
    await all_of(office.projector("after"))
    assert await kept(office.personal, job_id) == ((key, False), (key, "t"))


# The audit.


async def test_the_audit_finds_a_key_that_is_kept_or_that_nobody_erased(office):
    job_id, key = await a_sealed_run(office)
    other, _ = await a_sealed_run(office)
    await erase(office, job_id)
    await archived(office)
    assert await wrong(office) == {}
    await office.redis.hset(office.keys(0).personal, job_id, key + b"t")
    assert await wrong(office) == {
        "erasures": f"job {job_id} was erased, and a copy of its key is kept in Redis"
    }
    await office.redis.hdel(office.keys(0).personal, job_id)
    set_key = "update book.personal_keys set key = $2, erased_at = null where job = $1"
    await office.pool.execute(set_key, job_id, key)
    assert await wrong(office) == {
        "erasures": f"job {job_id} was erased, and its key is kept in book.personal_keys"
    }
    lose_key = "update book.personal_keys set key = null, erased_at = now() where job = $1"
    await office.pool.execute(lose_key, job_id)
    await office.pool.execute(lose_key, other)
    assert await wrong(office) == {
        "erasures": f"job {other} has lost its key, and no event erased it in book.personal_keys"
    }


async def test_the_audit_finds_that_a_key_is_missing(office):
    sealed = seal(WHO, b"k" * 32, Place(a_job_id(), "job_data/to"))
    job_id = await office.create(job_data={"to": sealed})
    await office.personal.make([job_id], tenant="t")
    await archived(office)
    assert await wrong(office) == {}
    await office.pool.execute("delete from book.personal_keys")
    assert await wrong(office) == {
        "erasures": f"data of job {job_id} is sealed, and book.personal_keys has no key of it"
    }
