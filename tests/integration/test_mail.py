"""Handing mail in, to a real server on loopback: what is promised of attempts, connections and TLS."""

import asyncio
import concurrent.futures
import email
import email.policy
import threading
from dataclasses import replace
from urllib.parse import quote

import pytest

from services.executor import mail_pool
from services.executor.mail import Enclosure, Letter, deliver, deliver_from_a_process, message_id_of, written
from services.executor.mail_pool import MailPool, pool_of
from services.executor.mail_session import (
    MailDeferred,
    MailServerUnreachable,
    MailServerUntrusted,
    Times,
)
from shared.handlers import GiveUp
from shared.job_types.mail_server import mail_server
from shared.job_types.mailboxes import mailbox
from shared.testing import NOON, a_told_run, wait_until
from tests.integration.smtp_kit import PASSWORD, USER, Authority, Post

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")  # that server is on loopback, and a test's
ANNA, BERT, CARL = (mailbox(f"{name}@example.com") for name in ("anna", "bert", "carl"))
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}@"
QUICK = Times(connect=0.3, command=0.3, data=0.3)


@pytest.fixture
async def make_post():
    made = []

    async def make(**options):
        made.append(await Post(**options).start())
        return made[-1]

    yield make
    for each in made:
        await each.stop()


@pytest.fixture
async def post(make_post):
    return await make_post()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def a_letter(*to, **changes):
    letter = Letter(
        sender=mailbox("Daybook <jobs@daybook.test>"), to=to or (ANNA,), subject="Hello", text="Well?\n"
    )
    return replace(letter, **changes)


def a_run(run_id="r1", attempt=1):
    return replace(a_told_run("email_notification", attempt), run_id=run_id)


async def send(server, *to, run=None, **changes):
    return await deliver(run or a_run(), server, a_letter(*to, **changes), now=NOON)


# What arrives.


async def test_a_letter_arrives_as_it_was_written(post):
    delivery = await send(
        post.server(), ANNA, mailbox("Bert Böll <bert@example.com>"), cc=(CARL,), reply_to=CARL
    )
    [mail] = post.mails
    assert (mail.sender, mail.recipients) == (
        "jobs@daybook.test",
        ["anna@example.com", "bert@example.com", "carl@example.com"],
    )
    assert mail.message["From"] == "Daybook <jobs@daybook.test>"
    assert mail.message["To"] == "anna@example.com, Bert Böll <bert@example.com>"
    assert (mail.message["Cc"], mail.message["Reply-To"]) == ("carl@example.com", "carl@example.com")
    assert mail.message["Date"].datetime == NOON
    assert mail.message["Message-ID"] == "<r1@daybook.test>" == delivery.message_id
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert delivery.accepted == tuple(mail.recipients)
    assert delivery.refused == {}


async def test_every_character_arrives(post):
    text = "Łódź €\r\n.\r\n.. 日本語 " + "long " * 500
    await send(post.server(), subject="Łódź € " * 30, text=text, html="<p>Łódź €</p>")
    [mail] = post.mails
    assert mail.content.isascii()
    assert max(map(len, mail.content.split(b"\r\n"))) <= 998
    assert mail.message["Subject"] == "Łódź € " * 30
    assert mail.message.get_body(["plain"]).get_content().splitlines() == text.splitlines()
    assert mail.message.get_body(["html"]).get_content().strip() == "<p>Łódź €</p>"


async def test_html_alone_is_html_alone(post):
    await send(post.server(), text="", html="<p>x</p>")
    assert post.mails[0].message.get_content_type() == "text/html"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Łódź €.pdf", "application/pdf"),
        ("table.csv", "text/csv"),
        ("data.csv.gz", "application/octet-stream"),
        ("old.eml", "application/octet-stream"),
        ("no ending", "application/octet-stream"),
    ],
)
async def test_attachments_arrive_byte_for_byte(post, name, kind):
    content = bytes(range(256)) * 50 + b"\r\n.\r\n\n\r" + "Łódź".encode()
    await send(
        post.server(), enclosures=(Enclosure(name=name, content=content), Enclosure(name="b", content=b""))
    )
    first, second = post.mails[0].message.iter_attachments()
    assert (first.get_filename(), first.get_content_type()) == (name, kind)
    assert first.get_payload(decode=True) == content
    assert second.get_payload(decode=True) == b""


async def test_bcc_gets_it_and_stands_nowhere(post):
    await send(post.server(), ANNA, bcc=(BERT, ANNA))
    assert post.mails[0].recipients == ["anna@example.com", "bert@example.com"]
    assert b"bert" not in post.mails[0].content.lower()
    assert b"bcc" not in post.mails[0].content.lower()


def test_a_line_break_in_a_subject_makes_no_header():
    content = written(a_letter(subject="Hi\r\nBcc: x@example.com\n\nBody\x00\u2028\ud800"), "<1@x>", NOON)
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message["Bcc"] is None
    assert message["Subject"] == "Hi  Bcc: x@example.com  Body   "


async def test_each_attempt_has_the_same_message_id_and_each_run_its_own(post):
    post.says["DATA"] = "451 later"
    with pytest.raises(MailDeferred):
        await send(post.server(), run=a_run(attempt=1))
    del post.says["DATA"]
    await send(post.server(), run=a_run(attempt=2))
    await send(post.server(), run=a_run("r2"))
    assert [mail.message["Message-ID"] for mail in post.mails] == ["<r1@daybook.test>", "<r2@daybook.test>"]
    assert message_id_of(a_run(attempt=1), ANNA) == message_id_of(a_run(attempt=2), ANNA)
    assert message_id_of(a_run(), ANNA, "report") == "<r1.report@example.com>"


def test_a_blocking_handler_mails_from_its_process():
    async def serve(ready, over):
        post = await Post().start()
        ready.set_result(post)
        await asyncio.wrap_future(over)
        await post.stop()

    ready, over = concurrent.futures.Future(), concurrent.futures.Future()
    thread = threading.Thread(target=lambda: asyncio.run(serve(ready, over)))
    thread.start()
    try:
        post = ready.result(10)
        delivery = deliver_from_a_process(a_run(), post.server(), a_letter(), now=NOON)
        assert delivery.accepted == ("anna@example.com",)
        assert [mail.recipients for mail in post.mails] == [["anna@example.com"]]
    finally:
        over.set_result(None)
        thread.join(10)


# Replies.


@pytest.mark.parametrize("where", ["MAIL", "RCPT", "DATA"])
async def test_4xx_fails_the_attempt_and_the_next_may_succeed(post, where):
    post.says[where] = "451 4.7.1 come back later"
    with pytest.raises(MailDeferred, match=r"451 4\.7\.1 come back later"):
        await send(post.server())
    post.says.clear()
    await send(post.server())
    assert len(post.mails) == 1
    assert post.connections == 1  # it was reset, and used again


async def test_a_greeting_of_4xx_fails_the_attempt(post):
    post.greeting = "421 too busy"
    with pytest.raises(MailDeferred, match="421 too busy"):
        await send(post.server())


@pytest.mark.parametrize("where", ["MAIL", "RCPT", "DATA"])
async def test_5xx_gives_up(post, where):
    post.says[where] = "550 5.7.1 not\there"
    with pytest.raises(GiveUp, match=r"550 5.7.1 not here"):
        await send(post.server())
    assert post.mails == []


async def test_a_greeting_of_5xx_gives_up(post):
    post.greeting = "554 go away"
    with pytest.raises(GiveUp, match="554 go away"):
        await send(post.server())


async def test_who_is_refused_stands_in_the_delivery_and_the_others_get_it(post):
    post.says |= {"bert@example.com": "550 nobody here", "carl@example.com": "452 mailbox full"}
    delivery = await send(post.server(), ANNA, BERT, CARL)
    assert delivery.accepted == ("anna@example.com",)
    assert delivery.refused == {
        "bert@example.com": "550 nobody here",
        "carl@example.com": "452 mailbox full",
    }
    assert [mail.recipients for mail in post.mails] == [["anna@example.com"]]


@pytest.mark.parametrize(
    ("second", "raised"), [("550 no", GiveUp), ("452 full", MailDeferred)], ids=["all 5xx", "one 4xx"]
)
async def test_if_all_are_refused_one_that_may_work_later_decides(post, second, raised):
    post.says |= {"anna@example.com": "550 no", "bert@example.com": second}
    with pytest.raises(raised, match=r"anna@example.com: 550 no; bert@example.com"):
        await send(post.server(), ANNA, BERT)
    assert post.mails == []


async def test_the_size_is_told_beforehand(make_post):
    post = await make_post(data_size_limit=2_000)
    with pytest.raises(GiveUp, match="552"):
        await send(post.server(), text="x" * 4_000)
    assert [each for each in post.asked if each[0] == "RCPT"] == []


# TLS and login.


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_mail_is_handed_in_over_tls_by_somebody_who_logs_in(make_post, authority, scheme):
    context = authority.server_context("post.test")
    kinds = {"smtp": {"starttls": context, "require_starttls": True}, "smtps": {"tls": context}}
    post = await make_post(login=True, **kinds[scheme])
    await send(post.server(f"?ca_file={authority.ca}", user=LOGIN, scheme=scheme))
    assert [(mail.tls, mail.user) for mail in post.mails] == [(True, USER)]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.parametrize("wrong", ["authority", "name", "time", "nobody"])
async def test_a_certificate_that_proves_nothing_is_refused(make_post, authority, tmp_path, scheme, wrong):
    other = Authority(tmp_path, "Somebody else")
    context = {
        "authority": other.server_context("post.test"),
        "name": authority.server_context("other.test", address=None),
        "time": authority.server_context("post.test", ended=True),
        "nobody": authority.server_context("post.test"),
    }[wrong]
    post = await make_post(**({"starttls": context} if scheme == "smtp" else {"tls": context}))
    query = "" if wrong == "nobody" else f"?ca_file={authority.ca}"
    with pytest.raises(MailServerUntrusted, match="certificate"):
        await send(post.server(query, scheme=scheme))
    assert post.mails == []


async def test_a_password_is_not_sent_to_a_server_without_tls(make_post):
    post = await make_post(login=True)
    for query in ("", "?starttls=auto", "?starttls=required"):
        with pytest.raises(MailServerUntrusted, match="no STARTTLS"):
            await send(post.server(query, user=LOGIN))
    assert post.logins == []
    await send(post.server("?starttls=off", user=LOGIN))
    assert [mail.user for mail in post.mails] == [USER]


@pytest.mark.parametrize(("query", "tls"), [("?starttls=auto", True), ("?starttls=off", False)])
async def test_starttls_is_used_as_the_address_says(make_post, authority, query, tls):
    post = await make_post(starttls=authority.server_context("post.test"))
    await send(post.server(f"{query}&ca_file={authority.ca}"))
    assert [mail.tls for mail in post.mails] == [tls]


async def test_a_wrong_password_gives_up_and_is_told_to_nobody(make_post, caplog):
    post = await make_post(login=True)
    with caplog.at_level("DEBUG"), pytest.raises(GiveUp, match="535") as refusal:
        await send(post.server("?starttls=off", user=f"{USER}:s3cret-word@"))
    assert post.logins
    assert "s3cret" not in str(refusal.value) + "".join(
        record.getMessage() for record in caplog.records if record.name != "mail.log"
    )


async def test_a_login_that_is_refused_for_now_is_tried_again(make_post):
    post = await make_post(login=True)
    post.says["AUTH"] = "454 4.7.0 later"
    with pytest.raises(MailDeferred, match="454"):
        await send(post.server("?starttls=off", user=f"{USER}:wrong@"))


async def test_a_file_of_authorities_that_is_missing_is_told(make_post, authority, tmp_path):
    post = await make_post(tls=authority.server_context("post.test"))
    with pytest.raises(MailServerUntrusted, match="ca_file"):
        await send(post.server(f"?ca_file={tmp_path}/none.pem", scheme="smtps"))


# Connections.


async def test_a_connection_is_used_again(post):
    for number in range(3):
        await send(post.server(), run=a_run(f"r{number}"))
    assert (post.connections, len(post.mails)) == (1, 3)


async def test_one_that_has_died_is_replaced_without_a_failure(post):
    await send(post.server(), run=a_run("r1"))
    post.hang_up()
    await send(post.server(), run=a_run("r2"))
    assert (post.connections, len(post.mails)) == (2, 2)


@pytest.mark.parametrize("where", ["MAIL", "RCPT"])
async def test_one_that_the_server_ends_before_the_mail_is_replaced_too(post, where):
    await send(post.server(), run=a_run("r1"))
    post.says[where] = lambda: post.says.clear() or "421 idle for too long"
    await send(post.server(), run=a_run("r2"))
    assert (post.connections, [mail.message["Message-ID"] for mail in post.mails]) == (
        2,
        ["<r1@daybook.test>", "<r2@daybook.test>"],
    )


async def test_one_that_is_lost_in_the_middle_of_a_mail_fails_the_attempt(post):
    async def lose():
        post.hang_up()
        await asyncio.sleep(0)
        return "250 too late"

    await send(post.server(), run=a_run("r1"))
    post.says["DATA"] = lose
    with pytest.raises(MailServerUnreachable, match="DATA"):
        await send(post.server(), run=a_run("r2"))
    assert post.connections == 1  # handing it in again is for the next attempt


async def test_idle_ones_are_closed(post):
    pool = MailPool(post.server(), idle_s=0.05)
    await pool.hand_in("a@b.c", ["d@e.f"], b"Subject: x\r\n\r\n")
    assert not post.transports[0].is_closing()
    await wait_until(post.transports[0].is_closing, "the end of the idle connection")
    await pool.hand_in("a@b.c", ["d@e.f"], b"Subject: x\r\n\r\n")
    assert post.connections == 2
    await pool.close()


async def test_there_are_never_more_than_a_few(post):
    server = post.server()
    await asyncio.gather(*(send(server, run=a_run(f"r{number}")) for number in range(40)))
    assert len(post.mails) == 40
    assert post.connections <= mail_pool.OPEN_MAX
    assert len(pool_of(server)._idle) <= mail_pool.IDLE_MAX


async def test_nobody_listening_is_unreachable(post):
    server = replace(post.server(), port=1)
    with pytest.raises(MailServerUnreachable, match=r"127\.0\.0\.1:1"):
        await send(server)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220-" + b"x" * 100_000])
async def test_what_is_silent_or_no_mail_server_is_unreachable_soon(said):
    async def talk(_reader, writer):
        writer.write(said)

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pool = MailPool(replace(_anywhere(), port=port), times=QUICK)
        with pytest.raises(MailServerUnreachable):
            await pool.hand_in("a@b.c", ["d@e.f"], b"x")


@pytest.mark.parametrize("where", ["MAIL", "RCPT", "DATA"])
async def test_each_step_has_its_time(where):
    async def talk(reader, writer):
        writer.write(b"220 hi\r\n")
        while line := await reader.readline():
            if not line.startswith(where.encode()):
                writer.write(b"250 ok\r\n")

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        pool = MailPool(replace(_anywhere(), port=server.sockets[0].getsockname()[1]), times=QUICK)
        with pytest.raises(MailServerUnreachable, match=r"[Tt]imed out"):
            await pool.hand_in("a@b.c", ["d@e.f"], b"x")


async def test_a_cancel_ends_the_mail_and_its_connection(post):
    reached = asyncio.Event()

    async def never():
        reached.set()
        await asyncio.sleep(60)

    post.says["DATA"] = never
    server = post.server()
    task = asyncio.create_task(send(server))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(post.transports[0].is_closing, "the end of the connection")
    assert pool_of(server)._idle == []
    post.says.clear()
    await send(server, run=a_run("r2"))
    assert post.connections == 2


async def test_it_tells_how_far_it_is(post):
    seen = []

    class Reporter:
        def log(self, text):
            seen.append(text)

        def progress(self, ratio, message):
            seen.append((round(ratio, 2), message))

    post.says["bert@example.com"] = "550 no"
    await send(post.server(), ANNA, BERT, run=replace(a_run(), reporter=Reporter()))
    ratios = [each[0] for each in seen if isinstance(each, tuple)]
    assert ratios == sorted(ratios)
    assert len(ratios) > 3
    assert "bert@example.com was refused: 550 no" in seen


def _anywhere():
    return mail_server("smtp://127.0.0.1:25?starttls=off")
