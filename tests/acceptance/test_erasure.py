"""An erasure, on a system of real processes: marked words run through it, are found nowhere, and then open no more."""

import asyncio
import base64
import contextlib
import json
import re
from types import SimpleNamespace

import asyncpg
import httpx
import pytest

from shared.eventlog.connection import connect
from shared.eventlog.keys import Keys
from shared.personal.sealing import KEY_BYTES, NotOpened, open_value, place_of
from shared.testing import wait_until
from tests.integration.personal_kit import kept, places_of

from .post_office import PostOffice
from .system import System, eventually
from .test_restore_drill import Client

MARKER = "marker7f3a"
GOOD, BAD = f"zoe.{MARKER}@example.com", f"nobody.{MARKER}@example.com"
ERASED = {"$erased": True}
COUNTED = ("ledger.runs", "ledger.run_hourly")
SEALED = re.compile(r'\{\\*"\$personal\\*": ?\\*"([A-Za-z0-9_-]+)\\*"\}')
HEX = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
BASE64 = re.compile(rb"(?<![\w+/-])[\w+/-]{43}=?(?![\w+/=-])")

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("heavy"), pytest.mark.timeout(300)]


@pytest.fixture
def post():
    with PostOffice() as office:
        office.says[BAD] = f"550 there is no {BAD} here"
        yield office


@pytest.fixture
def system(tmp_path, post):
    for name in ("kept", "system"):
        (tmp_path / name).mkdir()
    made = System(
        tmp_path / "system",
        environment={
            "DAYBOOK_PARTITIONS": "2",
            "DAYBOOK_SMTP_URL": post.url,
            "DAYBOOK_MAIL_FROM": "daybook@example.com",
            "DAYBOOK_FILES_ROOTS": str(tmp_path / "kept"),
            "DAYBOOK_LEASE_SECONDS": "2",
        },
    )
    try:
        yield made.start()
    finally:
        made.destroy()


def a_mail(client, recipient):
    data = {"recipient": recipient, "subject": f"To {MARKER}", "body": f"Dear {MARKER}, …"}
    return client.make("a mail", "email_notification", job_data=data, max_retries=0)


def ran(client, job_id):
    """A run of the job that has ended, as its view tells it."""
    run_id = client.post(f"/jobs/{job_id}/trigger")["id"]
    path = f"/executions/{run_id}"
    return eventually(lambda: view if (view := client.get(path))["finished_at"] else None, "it has ended")


class Stores:
    """Both stores, asked one thing at a time."""

    def __init__(self, system):
        self.system = system

    def ask(self, question):
        async def asked():
            redis, pool = (
                connect(self.system.valkey.endpoint.url),
                await asyncpg.create_pool(self.system.postgres.endpoint.url, min_size=1, max_size=2),
            )
            try:
                return await question(SimpleNamespace(redis=redis, pool=pool, prefix=self.system.prefix))
            finally:
                await pool.close()
                await redis.aclose()

        return asyncio.run(asked())

    def rows(self, *tables):
        async def question(stage):
            asked = [f"select t::text from {each} t order by 1" for each in tables]  # noqa: S608
            return [[row[0] for row in await stage.pool.fetch(each)] for each in asked]

        return self.ask(question)

    def found(self, marker, *directories):
        return self.ask(lambda stage: places_of(stage, marker, *directories))

    def key_of(self, job_id):
        async def question(stage):
            return await stage.pool.fetchval("select key from book.personal_keys where job = $1", job_id)

        return self.ask(question)

    def copies_of(self, job_id):
        async def question(stage):
            names = [Keys(stage.prefix, partition).personal for partition in range(2)]
            return [copy for name in names if (copy := await stage.redis.hget(name, job_id)) is not None]

        return self.ask(question)

    def contents(self, *directories):
        """All that is kept, as bytes by place; of Postgres' columns of bytes and Redis' hashes the bytes themselves."""

        async def question(stage):
            found = [each async for each in kept(stage, *directories)]
            for name in await stage.redis.keys(f"{stage.prefix}:*"):
                if await stage.redis.type(name) == b"hash":
                    found += [(name.decode(), each) for each in (await stage.redis.hgetall(name)).values()]
            return found

        return self.ask(question)


def keys_in(contents):
    """Every 32 bytes that stand somewhere by themselves: raw, in hex, in base64."""
    found = set()
    for _, content in contents:
        if len(content) >= KEY_BYTES:
            found |= {content[:KEY_BYTES], content[-KEY_BYTES:]}
        found |= {bytes.fromhex(each.decode()) for each in HEX.findall(content)}
        for each in BASE64.findall(content):
            found.add(base64.b64decode(each.rstrip(b"=") + b"=", altchars=b"-_"))
    return {each for each in found if len(each) == KEY_BYTES}


def sealed_in(contents, job_ids):
    """Every sealed value of these jobs that stands somewhere."""
    texts = {text for _, content in contents for text in SEALED.findall(content.decode(errors="replace"))}
    values = [{"$personal": text} for text in texts]
    return [each for each in values if (place := place_of(each)) and place.job in job_ids]


def opens(sealed, key):
    try:
        open_value(sealed, key, place_of(sealed))
    except NotOpened:
        return False
    return True


def test_what_was_said_of_somebody_is_read_by_nobody_any_more(system, post, tmp_path):
    client, stores = Client(system), Stores(system)
    copies = [tmp_path / "cold", tmp_path / "kept"]
    good, bad = a_mail(client, GOOD), a_mail(client, BAD)
    sent, failed = ran(client, good), ran(client, bad)
    assert [mail.recipients for mail in post.mails] == [[GOOD]]
    assert MARKER in post.mails[0].message["subject"]
    assert client.get(f"/jobs/{good}")["job_data"]["recipient"] == GOOD
    assert (sent["status"], failed["status"]) == ("succeeded", "failed")
    assert MARKER in json.dumps(sent["result"])
    assert MARKER in failed["error"]["message"]
    stands_nowhere(system, client, stores, copies)

    keys = {good: stores.key_of(good), bad: stores.key_of(bad)}
    everything = stores.contents(*copies)
    sealed = sealed_in(everything, keys)
    assert len(sealed) >= 8  # three fields of each, a result, a message
    assert all(opens(each, keys[place_of(each).job]) for each in sealed)
    assert set(keys.values()) <= keys_in(everything)  # whoever tries all there is would find them

    place = client.get(f"/jobs/{good}/events")["items"][0]["sequence"]
    with nothing_else_is_less_true(system, client, stores, copies):
        said = system.command("erase", "--job", good, "--reason", "ticket 4711", "--yes", "--url", system.url)
        assert said.returncode == 0, said.stderr
        assert (stores.key_of(good), stores.copies_of(good)) == (None, [])
        killed_between(system, stores, bad)
        assert (stores.key_of(bad), stores.copies_of(bad)) == (None, [])

    assert client.get(f"/jobs/{good}")["status"] == 404
    then = client.get(f"/jobs/{good}?as_of={place}")["job_data"]
    assert {name: then[name] for name in ("recipient", "subject", "body")} == dict.fromkeys(
        ("recipient", "subject", "body"), ERASED
    )
    assert client.get(f"/executions/{sent['id']}")["result"] == ERASED
    error = client.get(f"/executions/{failed['id']}")["error"]
    assert (error["class"], json.loads(error["message"])) == (failed["error"]["class"], ERASED)

    everything = stores.contents(*copies)
    left, tried = sealed_in(everything, keys), keys_in(everything)
    assert {each["$personal"] for each in left} >= {each["$personal"] for each in sealed}
    assert len(tried) > 20
    assert not tried & set(keys.values())
    assert not [each for each in left for key in tried if opens(each, key)]
    assert all(opens(each, keys[place_of(each).job]) for each in sealed)  # with the old ones, it would


def stands_nowhere(system, client, stores, copies):
    """Look for the marked words in both stores, a cold copy, a backup of the log, and the lines of all processes."""
    cold, backups = copies
    said = system.command("archive", "export", "--to", str(cold), "--compression", "none")
    assert said.returncode == 0, said.stderr
    backup = {"backup_type": "log", "destination": backups.as_uri(), "compression": "none"}
    saved = ran(client, client.make("saves", "backup_task", job_data=backup))
    assert saved["status"] == "succeeded", saved
    assert stores.found(MARKER, *copies) == []
    assert stores.found("email_notification", *copies) != []  # that search does find something
    for service in system.services.values():
        assert MARKER not in service.log_file.read_text(), service.tail()


@contextlib.contextmanager
def nothing_else_is_less_true(system, client, stores, copies):
    """Statistics, rows and counts stay as they are; the audit balances, the chain and the cold copy hold."""
    before, counts = stores.rows(*COUNTED), client.get("/executions")["total"]
    yield
    assert stores.rows(*COUNTED) == before
    assert client.get("/executions")["total"] == counts
    status, balance = system.audit()
    assert status == 0, balance
    said = system.command("archive", "verify", str(copies[0]))
    assert said.returncode == 0, said.stdout


def killed_between(system, stores, job_id):
    """Erase a job; kill the projector once it has taken the copy, and before it can commit."""
    [projector] = system.of("projector")

    async def erased(stage):
        async def copy_is_gone():
            return not any([await stage.redis.hexists(each, job_id) for each in names])

        names = [Keys(stage.prefix, partition).personal for partition in range(2)]
        held = await stage.pool.acquire()
        hold = held.transaction()
        await hold.start()
        await held.execute("lock table book.events in share mode")  # nothing is archived
        answer = await asyncio.to_thread(
            httpx.post,
            f"{system.url}/api/v1/jobs/{job_id}/erase",
            json={"reason": "ticket 4712"},
            headers={"Prefer": "respond-async"},
            timeout=30,
        )
        assert answer.status_code == 202, answer.text
        await wait_until(copy_is_gone, "the copy of the key is gone")
        projector.kill()
        await hold.rollback()
        await stage.pool.release(held)

    stores.ask(erased)
    assert stores.key_of(job_id) is not None  # so far nothing was committed
    projector.spawn()
    eventually(lambda: stores.key_of(job_id) is None, "the projector that comes next destroys the key")
    eventually(system.is_healthy, "the system is healthy")
