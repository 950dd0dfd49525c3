"""`email_notification`: a job's data becomes a mail on a real server, attachments and templates included."""

import asyncio
import json
import os
from dataclasses import replace

import pytest

from services.executor import plugins
from services.executor.handlers import email_notification
from services.executor.handlers.email_notification import NoMailServer
from services.executor.outcome import Returned, returned
from shared import job_types
from shared.handlers import GiveUp
from shared.job_types.email_notification import ATTACHMENTS_BYTES_MAX, Mailed
from shared.testing import a_told_run, resources
from tests.integration.smtp_kit import Post


@pytest.fixture
async def post():
    made = await Post().start()
    yield made
    await made.stop()


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "files"
    made.mkdir()
    return made


async def notify(
    post, *roots, mail_from="Daybook <jobs@daybook.test>, reports@daybook.test", run=None, **data
):
    server = post.server(mail_from=mail_from)
    templates = data.pop("templates_dir", None)
    told = replace(
        run or a_told_run(), job_data={"recipient": "user@example.com"} | data, job_name="Nightly\n€"
    )
    return await email_notification.handle(
        told, resources(mail=server, files_roots=roots, senders=server.senders, templates=templates)
    )


async def test_a_recipient_alone_is_enough(post):
    result = await notify(post)
    assert result == {
        "accepted": ["user@example.com"],
        "refused": {},
        "message_id": "<r@daybook.test>",
        "attachments": [],
    }
    assert Mailed.model_validate(result)
    [mail] = post.mails
    assert mail.message["Subject"] == "Nightly €"
    assert mail.message["From"] == "Daybook <jobs@daybook.test>"
    assert mail.message.get_content().strip() == "The job “Nightly €” has run: execution r."


async def test_everything_that_can_be_said_is_in_the_mail(post, root):
    (root / "deep").mkdir()
    content = os.urandom(70_000)
    (root / "deep" / "data.bin").write_bytes(content)
    data = {
        "recipient": None,
        "recipients": ["Anna Łódź <anna@example.com>", "bert@żółw.example"],
        "cc": ["carl@example.com"],
        "bcc": ["Dora <dora@example.com>"],
        "reply_to": "Office <office@example.com>",
        "from": "Weekly Reports <reports@daybook.test>",
        "subject": "Łódź €",
        "body": "Grüße",
        "html": "<p>Grüße</p>",
        "attachments": [
            {"path": f"{root}/deep/data.bin", "name": "Łódź.bin"},
            {"path": f"{root}/deep/data.bin"},
        ],
    }
    result = await notify(post, root, **data)
    [mail] = post.mails
    assert mail.sender == "reports@daybook.test"
    assert mail.recipients == [
        "anna@example.com", "bert@xn--w-uga1v8h.example", "carl@example.com", "dora@example.com",
    ]  # fmt: skip
    assert mail.message["From"] == "Weekly Reports <reports@daybook.test>"
    assert mail.message["Subject"] == "Łódź €"
    assert mail.message.get_body(["plain"]).get_content().strip() == "Grüße"
    assert [each.get_payload(decode=True) for each in mail.message.iter_attachments()] == [content, content]
    assert b"dora" not in mail.content
    assert result["accepted"] == mail.recipients
    assert result["attachments"] == [{"name": name, "bytes": 70_000} for name in ("Łódź.bin", "data.bin")]


async def test_a_template_makes_the_mail(post):
    await notify(post, template="notice", subject="Done", context={"message": "{{ 7 * 7 }} <b>"})
    [mail] = post.mails
    text, html = (mail.message.get_body([kind]).get_content() for kind in ("plain", "html"))
    assert text.splitlines()[:3] == ["Done", "", "{{ 7 * 7 }} <b>"]
    assert "{{ 7 * 7 }} &lt;b&gt;" in html


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"template": "notice"}, "'message' is undefined"),
        ({"template": "gone"}, "there are notice"),
        ({"from": "boss@daybook.test"}, "DAYBOOK_MAIL_FROM"),
    ],
)
async def test_what_no_attempt_can_mend_gives_up(post, data, said):
    with pytest.raises(GiveUp, match=said):
        await notify(post, **data)
    assert post.mails == []


async def test_attachments_outside_the_files_roots_are_not_mailed(post, root, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    for path in (tmp_path / "secret", root / "link", root / "folder" / "secret", root):
        with pytest.raises(GiveUp, match="OutsideFilesRoots"):
            await notify(post, root, attachments=[{"path": str(path)}])
    assert post.mails == []


async def test_a_missing_attachment_may_come_yet(post, root):
    with pytest.raises(FileNotFoundError):
        await notify(post, root, attachments=[{"path": f"{root}/report"}])
    (root / "report").write_bytes(b"x")
    await notify(post, root, attachments=[{"path": f"{root}/report"}])
    assert len(post.mails) == 1


async def test_attachments_have_a_limit_in_all(post, root):
    half = ATTACHMENTS_BYTES_MAX // 2
    (root / "half").write_bytes(b"x" * half)
    two = [{"path": f"{root}/half"}] * 2
    await notify(post, root, attachments=two)
    assert len(post.mails[0].content) < 10 * 1024 * 1024
    (root / "byte").write_bytes(b"x")
    with pytest.raises(GiveUp, match=f"with byte the attachments have more than {ATTACHMENTS_BYTES_MAX:,}"):
        await notify(post, root, attachments=[*two, {"path": f"{root}/byte"}])
    assert len(post.mails) == 1


async def test_the_largest_result_can_be_recorded(post, root):
    """Else the attempt would fail after the mail is sent, and the next would send it again."""
    (root / "x").touch()
    people = [f"{'u' * 40}{number:02}@{'d' * 30}.example" for number in range(98)]
    post.says |= dict.fromkeys(people[1:], "450 " + "no way, " * 50)
    attachments = [{"path": f"{root}/x", "name": "€" * 199 + str(number % 10)} for number in range(20)]
    data = {"recipient": None, "recipients": people, "attachments": attachments}
    job_types.check(
        "email_notification",
        {"recipients": people, "attachments": attachments},
        known=job_types.Known(),
        catalog=resources(files_roots=(root,), senders=post.server().senders).catalog,
    )
    result = await notify(post, root, **data)
    assert len(result["refused"]) == 97
    assert len(json.dumps(result, ensure_ascii=False).encode()) > 14_000
    assert isinstance(returned(result), Returned)


async def test_without_a_mail_server_the_attempt_fails_and_says_whose_matter_it_is():
    with pytest.raises(NoMailServer, match="DAYBOOK_SMTP_URL"):
        await email_notification.handle(a_told_run(recipient="a@b.c"), resources())


async def test_a_cancel_while_it_mails_is_heeded(post):
    reached = asyncio.Event()

    async def never():
        reached.set()
        await asyncio.Event().wait()

    post.says["DATA"] = never
    task = asyncio.create_task(notify(post))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_executor_calls_it_by_its_name(post):
    server = post.server()
    handler = plugins.handlers(job_types.Known(), resources(mail=server))["email_notification"]
    assert not handler.blocking
    await handler.call(a_told_run("email_notification", recipient="a@b.c"))
    assert len(post.mails) == 1
