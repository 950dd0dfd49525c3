"""The mail server of `daybook up`, and the pages that show what it has caught."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import pytest

from services.executor.mail import Enclosure, Letter, deliver
from services.executor.mail_pool import close_pools
from services.up import mail_catcher
from services.up.beside import Beside
from services.up.mail_catcher import MailCatcher
from shared import mail_folder, settings
from shared.embedded import DataDir
from shared.handlers import GiveUp
from shared.job_types.mail_server import mail_server
from shared.job_types.mailboxes import mailbox
from shared.mail_folder import MailFolder
from shared.testing import NOON, a_told_run, wait_until
from tests.integration.api_stage import stage_on

HTML = {"Accept": "text/html"}
A_MAIL = {
    "name": "weekly",
    "job_type": "email_notification",
    "job_data": {
        "recipient": "user@company.com",
        "subject": "Weekly Report Ready",
        "body": "Your weekly report has been generated and is ready for review.",
    },
}
JSON = {"Accept": "application/json"}


@pytest.fixture
async def catcher(tmp_path):
    made = MailCatcher(tmp_path / "mail")
    await made.start()
    yield made
    await close_pools()
    await made.stop()


@pytest.fixture
def folder(tmp_path):
    return MailFolder(tmp_path / "mail")


def address_of(catcher):
    server = mail_server(catcher.environment["DAYBOOK_SMTP_URL"])
    return server.host, server.port


async def send(catcher, **changes):
    letter = Letter(
        **{
            "sender": mailbox("jobs@daybook.test"),
            "to": (mailbox("Anna <anna@example.com>"),),
            "bcc": (mailbox("bert@example.com"),),
            "subject": "Łódź €",
            "text": "Grüße <b>",
        }
        | changes
    )
    server = mail_server(catcher.environment["DAYBOOK_SMTP_URL"])
    return await deliver(a_told_run(), server, letter, now=NOON)


async def test_what_is_handed_in_is_kept_with_all_who_would_get_it(catcher, folder):
    delivery = await send(catcher)
    assert delivery.accepted == ("anna@example.com", "bert@example.com")
    [name] = folder.names()
    content = folder.read(name)
    assert content.startswith(
        b"X-Envelope-From: jobs@daybook.test\r\n"
        b"X-Envelope-To: anna@example.com\r\nX-Envelope-To: bert@example.com\r\nFrom: jobs@daybook.test\r\n"
    )
    assert content.count(b"bert") == 1
    assert folder.path.stat().st_mode & 0o077 == 0


async def test_the_newest_are_kept(catcher, folder, monkeypatch):
    monkeypatch.setattr(mail_folder, "MESSAGES_MAX", 3)
    for number in range(5):
        await send(catcher, subject=f"number {number}")
    kept = [folder.read(name).split(b"Subject: ")[1].split(b"\r\n")[0] for name in folder.names()]
    assert kept == [b"number 4", b"number 3", b"number 2"]


async def test_what_is_too_large_is_refused(catcher, folder, monkeypatch):
    monkeypatch.setattr(mail_catcher, "MESSAGE_BYTES_MAX", 1_000)
    with pytest.raises(GiveUp, match="552"):
        await send(catcher, text="x" * 2_000)
    assert folder.names() == []


async def test_a_full_disk_is_told_as_passing(catcher, folder):
    folder.path.rmdir()
    with pytest.raises(Exception, match="452 it can't be kept"):
        await send(catcher)


@pytest.mark.parametrize(
    "said",
    [
        b"\xff\xfe\x00\x01\r\n" * 100,
        b"x" * 200_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"EHLO x\r\nMAIL FROM:<\xff@x>\r\nRCPT TO:<" + b"a" * 5_000 + b">\r\nDATA\r\n",
        b"EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\nhalf of",
        b"",
    ],
)
async def test_it_outlives_clients_that_speak_nonsense(catcher, folder, said):
    reader, writer = await asyncio.open_connection(*address_of(catcher))
    writer.write(said)
    await reader.readline()
    writer.close()
    await send(catcher)
    assert len(folder.names()) == 1


async def test_it_has_a_bound_of_connections_and_room_again_when_they_end(catcher, folder):
    held = [await asyncio.open_connection(*address_of(catcher)) for _ in range(mail_catcher.CONNECTIONS_MAX)]
    for reader, _ in held:
        assert (await reader.readline()).startswith(b"220")
    reader, writer = await asyncio.open_connection(*address_of(catcher))
    assert (await reader.readline()).startswith(b"421")
    writer.close()
    for _, each in held:
        each.close()
    await wait_until(lambda: not catcher._open, "the end of the connections")
    await send(catcher)
    assert len(folder.names()) == 1


async def test_it_ends_with_connections_open(tmp_path):
    catcher = MailCatcher(tmp_path / "mail")
    assert catcher.environment == {}
    await catcher.start()
    address = address_of(catcher)
    assert address[0] == "127.0.0.1"
    reader, writer = await asyncio.open_connection(*address)
    await reader.readline()
    await catcher.stop()
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(OSError, match=r"."), socket.create_connection(address, 1):
        pass
    await catcher.stop()


@pytest.mark.parametrize(
    ("choice", "catches"),
    [({}, True), ({"smtp_url": "smtp://h"}, False), ({"env": "production", "auth": "on"}, False)],
)
async def test_mail_is_caught_in_development_if_there_is_no_server(tmp_path, choice, catches):
    (tmp_path / "own.yaml").write_text("sources: {}")
    told = settings.load(sources=tmp_path / "own.yaml", **choice)
    with DataDir(tmp_path).locked():
        beside = Beside(told, DataDir(tmp_path))
        await beside.start()
        variables = {"DAYBOOK_SMTP_URL", "DAYBOOK_MAIL_DIR"} if catches else set()
        assert (set(beside.variables(None)), "Mail" in beside.lines()) == (variables, catches)
        assert (tmp_path / "mail").exists() is catches
        await beside.stop()


def test_what_was_half_written_is_cleared_and_strange_files_are_left_alone(folder):
    folder.path.mkdir()
    (folder.path / ".x.part").touch()
    (folder.path / "notes.txt").touch()
    folder.prepare()
    assert [each.name for each in folder.path.iterdir()] == ["notes.txt"]
    assert folder.names() == []


def test_only_its_own_files_are_read(folder, tmp_path):
    folder.prepare()
    name = folder.store(b"x", NOON)
    link = name.replace("T12", "T13")
    (tmp_path / "secret").write_text("secret")
    (folder.path / link).symlink_to(tmp_path / "secret")
    assert folder.read(name) == b"x"
    for other in (link, "../secret", f"../mail/{name}", "nope", "", f"{name}\n"):
        assert folder.read(other) is None


# /dev/mail.


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    mail = {"mail_dir": tmp_path / "mail", "smtp_url": "smtp://127.0.0.1:1"}
    async with stage_on(valkey, postgres, tmp_path, **mail) as made:
        yield made


async def test_caught_mail_is_listed_and_shown(stage, catcher):
    assert (await stage.ask("GET", "/dev/mail", status=200, headers=JSON)).json == {"items": []}
    assert "Nothing was mailed yet" in (await stage.ask("GET", "/dev/mail", status=200)).text
    await send(catcher, subject="first")
    await send(catcher, html="<p>Hi</p>", enclosures=(Enclosure(name="Łódź.bin", content=b"12345"),))
    second, first = (await stage.ask("GET", "/dev/mail", status=200, headers=JSON)).json["items"]
    assert first["subject"] == "first"
    assert second == {
        "name": second["name"],
        "received_at": second["received_at"],
        "from": "jobs@daybook.test",
        "to": "Anna <anna@example.com>",
        "cc": "",
        "subject": "Łódź €",
        "envelope_to": ["anna@example.com", "bert@example.com"],
        "bytes": second["bytes"],
    }
    one = (await stage.ask("GET", f"/dev/mail/{second['name']}", status=200, headers=JSON)).json
    assert {key: one[key] for key in second} == second
    assert (one["text"].strip(), one["html"].strip()) == ("Grüße <b>", "<p>Hi</p>")
    assert one["attachments"] == [
        {"name": "Łódź.bin", "content_type": "application/octet-stream", "bytes": 5}
    ]
    page = await stage.ask("GET", "/dev/mail", status=200, headers=HTML)
    assert f'<a href="/dev/mail/{second["name"]}">Łódź €</a>' in page.text
    page = await stage.ask("GET", f"/dev/mail/{second['name']}", status=200, headers=HTML)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Grüße &lt;b&gt;" in page.text
    assert "&lt;p&gt;Hi&lt;/p&gt;" in page.text


async def test_nothing_of_a_mail_is_executed(stage, catcher):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"
    await send(
        catcher,
        subject=evil,
        text=evil,
        html=evil,
        enclosures=(Enclosure(name=evil.replace("/", ""), content=b"x"),),
    )
    [item] = (await stage.ask("GET", "/dev/mail", status=200, headers=JSON)).json["items"]
    for path in ("/dev/mail", f"/dev/mail/{item['name']}"):
        page = await stage.ask("GET", path, status=200, headers=HTML)
        assert "alert(1)" in page.text
        assert "<script" not in page.text
        assert "<img" not in page.text
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n\r\n",
        b"\xff\xfe\x00" * 1_000,
        b"Subject: =?utf-9?q?x?= =?utf-8?b?!!!?=\r\nTo: \xff\xfe\r\nFrom: <<<>>>\r\n"
        b"Content-Type: text/plain; charset=nope\r\n\r\n\xff",
        b"Content-Type: text/html; charset=\xff\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!",
        b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n",
        b"Content-Type: multipart/mixed\r\n\r\nx",
        b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(1_000)
        ),
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 1_000_000,
        b"Content-Disposition: attachment; filename*=utf-9''%ff\r\n\r\nx",
        b"A: b\r\n" * 1_000_000,
    ],
    ids=[
        "nothing",
        "blank",
        "bytes",
        "charsets",
        "base64",
        "boundary",
        "none",
        "deep",
        "many",
        "name",
        "headers",
    ],
)
async def test_a_crafted_mail_breaks_nobody(stage, folder, content):
    folder.prepare()
    name = folder.store(content, NOON)
    for path in ("/dev/mail", f"/dev/mail/{name}"):
        for accept in (JSON, HTML):
            await stage.ask("GET", path, status=200, headers=accept)


async def test_what_isnt_there_is_not_found(stage, folder):
    folder.prepare()
    old = datetime.now(UTC) - timedelta(days=1)  # noqa: TID251 - of a name only
    for name in ("nope", folder.store(b"x", old)[:-1], "..%2Fsecret"):
        await stage.ask("GET", f"/dev/mail/{name}", status=404)


async def test_where_no_mail_is_caught_there_is_no_page(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as stage:
        answer = await stage.ask("GET", "/dev/mail", status=404)
        assert "DAYBOOK_SMTP_URL" in answer.json["detail"]
        await stage.ask("GET", "/dev/mail/x", status=404)
        refused = await stage.ask("POST", "jobs", status=422, json=A_MAIL)
        [fault] = refused.json["errors"]
        assert fault["pointer"] == "#/job_type"
        assert "DAYBOOK_SMTP_URL" in fault["detail"]


async def test_a_mail_is_made_a_job_as_it_stands(stage):
    job = (await stage.ask("POST", "jobs", status=201, json=A_MAIL)).json
    assert job["job_data"] == A_MAIL["job_data"]
    wrong = A_MAIL | {
        "job_data": {"recipient": "a@b.c\nBcc: d@e.f", "attachments": [{"path": "/etc/passwd"}]}
    }
    errors = (await stage.ask("POST", "jobs", status=422, json=wrong)).json["errors"]
    assert [each["pointer"] for each in errors] == ["#/job_data/recipient"]
    types = (await stage.ask("GET", "job-types", status=200)).json["items"]
    [told] = [each for each in types if each["name"] == "email_notification"]
    assert "MailDeferred" in told["retried"]
    assert set(told["result"]["properties"]) == {"accepted", "refused", "message_id", "attachments"}
